"""The story grammar, as data: word lists, beats with paraphrases, plots, questions and summaries.

A story is a plot; a plot is a sequence of beats; a beat is one sentence, told by one of its templates.
The same templates serve the generator (`corpus.py`, which fills them) and the parser (`faults.py`, which
matches them), so a rule about the language is written once.

Slots and the role they take their word from:

    {hero} {friend}                        names
    {he} {his} {him} {girl}                words that the hero's gender decides
    {fhe} {fhis} {fhim}                    words that the friend's gender decides
    {colour} {object} {colour2} {object2}  the hero's thing and the friend's thing, at the start
    {home} {place}                         where the hero lives, where the journey goes
    {animal}

Templates are lower case, written as a reader would see them; one template is one sentence.
"""

GIRLS = ("anna", "clara", "lily", "mia", "nora", "rosa")
BOYS = ("ben", "finn", "leo", "max", "sam", "tom")
COLOURS = ("black", "blue", "brown", "green", "pink", "red", "white", "yellow")
OBJECTS = ("ball", "bell", "boat", "book", "cup", "doll", "drum", "hat", "kite", "lamp", "ring", "scarf")
PLACES = ("beach", "bridge", "farm", "forest", "garden", "hill", "lake", "market", "mill", "river")
ANIMALS = ("bear", "cat", "crow", "dog", "duck", "fox", "frog", "goat", "horse", "rabbit")

NAMES = GIRLS + BOYS

BEATS = {
    # told in every plot
    "open": (
        "once there was a {girl} named {hero}, and {he} lived near the {home}.",
        "{hero} was a little {girl} who lived in a house by the {home}.",
        "in a small house near the {home} lived a {girl} named {hero}.",
    ),
    "own": (
        "{he} had a {colour} {object} and took it everywhere.",
        "{he} loved {his} {colour} {object} more than anything else.",
        "the best thing {he} had was a {colour} {object}.",
    ),
    "friend": (
        "{his} best friend was {friend}, who had a {colour2} {object2}.",
        "{friend}, {his} best friend, always carried a {colour2} {object2}.",
        "{he} often played with {friend}, who owned a {colour2} {object2}.",
    ),
    "weather": (
        "the sun was warm and the sky was clear.",
        "it was a cold day, but they did not mind.",
        "a soft wind blew over the grass.",
    ),
    "journey": (
        "one day, {hero} and {friend} left the {home} and walked to the {place}.",
        "one morning, the two friends went from the {home} to the {place}.",
        "early one day, {friend} and {hero} set out from the {home} for the {place}.",
    ),
    "walk": (
        "{friend} sang a song, and {hero} danced along the road.",
        "on the way, {hero} told {friend} a funny story.",
        "they shared some bread and an apple on the way.",
    ),
    # lost: the hero's thing is lost and the friend finds it
    "lost_play": (
        "at the {place}, {hero} put the {object} down and ran after a {animal}.",
        "there they saw a {animal}, and {hero} forgot to watch the {object}.",
        "they played with a {animal} there, and the {object} was left alone.",
    ),
    "lost_gone": (
        "when {he} turned around, the {colour} {object} was gone.",
        "soon {hero} looked for the {object}, but it was not there.",
    ),
    "lost_cry": (
        "“i have lost my {colour} {object},” said {hero}, and {he} began to cry.",
        "{hero} cried, “oh no! where is my {colour} {object}?”",
    ),
    "lost_help": (
        "“do not cry, we will find it,” said {friend}.",
        "{friend} took {his} hand and said, “i will help you look.”",
    ),
    "lost_search": (
        "they looked behind every stone for a long time.",
        "{hero} searched the grass, but {he} found nothing.",
    ),
    "lost_hint": (
        "then the {animal} came back and led {friend} to an old tree.",
        "at last {friend} followed the little {animal} to an old tree.",
    ),
    "lost_found": (
        "there {fhe} found the {colour} {object} under the leaves and gave it back to {hero}.",
        "under the leaves {friend} found the {object}, and {fhe} brought it to {hero}.",
    ),
    "lost_end": (
        "they went home to the {home}, and {hero} never lost the {object} again.",
        "that night, back at the {home}, {hero} slept with the {object} in {his} arms.",
    ),
    # gift: the hero gives the thing away
    "gift_sad": (
        "but {friend} was sad, because it was {fhis} birthday.",
        "“today is my birthday, and nobody knows,” said {friend}.",
    ),
    "gift_lonely": (
        "only a {animal} at the {place} came to sit with {fhim}.",
        "{fhe} sat down on a stone, and a {animal} looked at {fhim}.",
    ),
    "gift_think": (
        "{hero} looked at the {colour} {object} and thought for a while.",
        "{hero} wanted to make {fhim} happy, so {he} thought of the {object}.",
    ),
    "gift_give": (
        "then {he} said, “this {colour} {object} is for you, {friend}.”",
        "so {hero} gave the {colour} {object} to {friend} with a smile.",
    ),
    "gift_ask": (
        "“but you love your {object}!” said {friend}.",
        "{friend} asked, “will you not miss your {object}?”",
    ),
    "gift_answer": (
        "“i love my friend more,” {hero} answered.",
        "{hero} said, “a friend is better than any {object}.”",
    ),
    "gift_joy": (
        "{friend} held the {object} high, and the {animal} jumped for joy.",
        "{fhe} danced around the {animal} with the {object} and the {object2}.",
    ),
    "gift_end": (
        "from that day on, {friend} kept the {colour} {object} next to the {object2}.",
        "{hero} came home to the {home} without the {object}, but {he} was happy.",
    ),
    # trade: the two change things
    "trade_meet": (
        "at the {place} a {animal} was asleep, so they sat down near it to rest.",
        "they sat down at the {place}, where a {animal} was eating grass.",
    ),
    "trade_look": (
        "{hero} could not stop looking at the {colour2} {object2}.",
        "{hero} liked the {colour2} {object2} that {friend} had.",
    ),
    "trade_offer": (
        "“will you give me your {object2} for my {object}?” {he} asked.",
        "{he} said, “let us trade my {colour} {object} for your {object2}.”",
    ),
    "trade_wait": (
        "{friend} looked at the {colour} {object} from all sides.",
        "{friend} asked the {animal} what to do, but it said nothing.",
    ),
    "trade_yes": (
        "“yes, that is fair,” said {friend}, and they shook hands.",
        "then {friend} smiled and said, “yes, i would like that.”",
    ),
    "trade_swap": (
        "so {hero} got the {colour2} {object2}, and {friend} got the {colour} {object}.",
        "so {friend} took the {colour} {object} and gave {hero} the {colour2} {object2}.",
    ),
    "trade_play": (
        "{friend} showed the {object} to the {animal}, and it ran away.",
        "all day long, {hero} played with the {object2} at the {place}.",
    ),
    "trade_end": (
        "back at the {home}, {hero} put the {colour2} {object2} next to {his} bed.",
        "in the evening {hero} went home to the {home} with the {object2}, and both were happy.",
    ),
    # thief: an animal takes the friend's thing and the hero gets it back
    "thief_put": (
        "at the {place}, {friend} put the {colour2} {object2} on a stone.",
        "{friend} left the {colour2} {object2} in the grass and lay down.",
    ),
    "thief_take": (
        "a hungry {animal} came out, took the {object2} and ran.",
        "suddenly a {animal} took the {object2} and ran away with it.",
    ),
    "thief_shout": (
        "“stop! that is my {object2}!” {friend} shouted.",
        "{friend} shouted, “come back with my {colour2} {object2}!”",
    ),
    "thief_chase": (
        "{hero} ran after the {animal} as fast as {he} could.",
        "the two friends ran after the {animal}, but it was too fast.",
    ),
    "thief_plan": (
        "then {hero} had a plan and held up the {colour} {object}.",
        "“look at my {object}, little {animal},” said {hero}.",
    ),
    "thief_drop": (
        "the {animal} wanted to see the {object}, so it let the {object2} fall.",
        "the {animal} stopped to look, and the {colour2} {object2} fell down.",
    ),
    "thief_back": (
        "{hero} picked up the {object2} and gave it back to {friend}.",
        "quickly {he} took the {colour2} {object2} and brought it to {friend}.",
    ),
    "thief_thanks": (
        "“thank you, {hero},” said {friend}, and {fhe} laughed again.",
        "{friend} thanked {him} and gave the {animal} some bread.",
    ),
    "thief_end": (
        "back at the {home}, {friend} held the {object2} with both hands.",
        "then at the {home}, {friend} hid the {object2} in a safe place.",
    ),
    # mend: the hero's thing breaks and the friend mends it
    "mend_jump": (
        "at the {place} a big {animal} jumped out of the grass.",
        "at the {place} a {animal} jumped up and made a loud noise.",
    ),
    "mend_break": (
        "{hero} was so afraid that {he} let the {colour} {object} fall, and it broke.",
        "the {colour} {object} fell out of {his} hands and broke in two.",
    ),
    "mend_cry": (
        "“now my {object} is broken!” cried {hero}.",
        "{hero} sat down next to the broken {object} and cried.",
    ),
    "mend_sorry": (
        "even the {animal} looked sorry.",
        "the {animal} hid behind a tree.",
    ),
    "mend_offer": (
        "“give it to me, i can mend it,” said {friend}.",
        "{friend} said, “do not be sad, i know how to mend a {object}.”",
    ),
    "mend_work": (
        "{fhe} put down the {colour2} {object2} and worked until the sun was low.",
        "{fhe} worked for a long time while {hero} held the {colour2} {object2}.",
    ),
    "mend_done": (
        "at last {friend} gave {him} the {object}, and it was like new again.",
        "then {fhe} gave the {colour} {object} back to {hero}, and nobody could see that it had been broken.",
    ),
    "mend_thanks": (
        "“you are the best friend of all,” said {hero}.",
        "{hero} was so happy that {he} danced with the {animal}.",
    ),
    "mend_end": (
        "back at the {home}, {hero} put the {object} in a safe place.",
        "they went home to the {home}, and {hero} was careful with the {object} from then on.",
    ),
    # rescue: the hero's thing helps an animal
    "rescue_hear": (
        "at the {place} they heard a {animal} call for help.",
        "there a little {animal} had fallen into a deep hole.",
    ),
    "rescue_see": (
        "“poor {animal}, it is so afraid,” said {friend}.",
        "{friend} said, “look, it can not get out of the hole!”",
    ),
    "rescue_try": (
        "first {fhe} let down {fhis} {colour2} {object2}, but it was too small.",
        "{friend} tried to help it with the {colour2} {object2}, but that did not work.",
    ),
    "rescue_idea": (
        "“wait, i will try my {object},” said {hero}.",
        "then {hero} had an idea and took out the {colour} {object}.",
    ),
    "rescue_hold": (
        "{friend} held {him} by the feet so that {he} did not fall.",
        "the {animal} was still, for it knew that they were friends.",
    ),
    "rescue_out": (
        "{he} put the {colour} {object} into the hole, and the {animal} climbed out on it.",
        "with the help of the {colour} {object}, {hero} pulled the {animal} out of the hole.",
    ),
    "rescue_glad": (
        "the {animal} was free and ran around {hero} three times.",
        "the {animal} put its head on the hand of {hero} to thank {him}.",
    ),
    "rescue_end": (
        "it followed them to the {home}, and {hero} let it sleep next to the {object}.",
        "{hero} and {friend} went back to the {home}, and the {animal} came to see them every day.",
    ),
}

#: A plot is its beats in order; a trailing "?" marks a beat that can be left out.
PLOTS = {
    "lost": "open own friend weather? journey walk? lost_play lost_gone lost_cry? lost_help? lost_search? "
    "lost_hint lost_found lost_end",
    "gift": "open own friend weather? journey walk? gift_sad gift_lonely gift_think gift_give gift_ask? "
    "gift_answer gift_joy? gift_end",
    "trade": "open own friend weather? journey walk? trade_meet trade_look? trade_offer trade_wait? trade_yes "
    "trade_swap trade_play? trade_end",
    "thief": "open own friend weather? journey walk? thief_put thief_take thief_shout? thief_chase? thief_plan "
    "thief_drop thief_back thief_thanks? thief_end",
    "mend": "open own friend weather? journey walk? mend_jump mend_break mend_cry? mend_sorry? mend_offer mend_work? "
    "mend_done mend_thanks? mend_end",
    "rescue": "open own friend weather? journey walk? rescue_hear rescue_see? rescue_try rescue_idea rescue_hold? "
    "rescue_out rescue_glad? rescue_end",
}

#: Share of the stories that are brief: every "?" beat left out. In the others each is told with probability 1/2.
BRIEF = 0.4

#: Questions about any story, then those of one plot: (question, answer).
QUESTIONS = {
    "": (
        ("what colour was the {object}?", "{colour}."),
        ("what colour was the {object2}?", "{colour2}."),
        ("where did the friends go?", "to the {place}."),
        ("where did {hero} live?", "near the {home}."),
        ("which animal did they meet?", "a {animal}."),
        ("who was the best friend of {hero}?", "{friend}."),
        ("who had the {object2} at first?", "{friend}."),
        ("who had the {object} at first?", "{hero}."),
    ),
    "lost": (("who found the {object}?", "{friend}."), ("what was lost?", "the {colour} {object}.")),
    "gift": (("who had the {object} at the end?", "{friend}."), ("what was the gift?", "the {colour} {object}.")),
    "trade": (("who had the {object} at the end?", "{friend}."), ("who had the {object2} at the end?", "{hero}.")),
    "thief": (("who took the {object2}?", "the {animal}."), ("who brought the {object2} back?", "{hero}.")),
    "mend": (("who mended the {object}?", "{friend}."), ("what was broken?", "the {colour} {object}.")),
    "rescue": (("who was in the hole?", "the {animal}."), ("who saved the {animal}?", "{hero}.")),
}

SUMMARIES = {
    "lost": (
        "{hero} lost a {colour} {object} at the {place}, and {friend} found it.",
        "{friend} found the {colour} {object} that {hero} had lost at the {place}.",
    ),
    "gift": (
        "{hero} gave a {colour} {object} to {friend} at the {place}.",
        "at the {place}, {friend} got a {colour} {object} from {hero}.",
    ),
    "trade": (
        "{hero} and {friend} traded a {colour} {object} for a {colour2} {object2}.",
        "at the {place}, {hero} gave {friend} a {object} for a {colour2} {object2}.",
    ),
    "thief": (
        "a {animal} took the {colour2} {object2} of {friend}, and {hero} got it back.",
        "{hero} got back the {object2} that a {animal} took from {friend} at the {place}.",
    ),
    "mend": (
        "{hero} broke a {colour} {object}, and {friend} mended it.",
        "{friend} mended the {colour} {object} that broke at the {place}.",
    ),
    "rescue": (
        "{hero} saved a {animal} with a {colour} {object}.",
        "at the {place}, {hero} and {friend} saved a {animal} with a {object}.",
    ),
}

QUESTION, ANSWER, SUMMARY = "question:", "answer:", "summary:"
#: Share of the texts that are a story alone, with a question and its answer, with a summary.
TASKS = {"story": 0.25, "question": 0.5, "summary": 0.25}
