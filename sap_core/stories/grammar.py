"""The story grammar as data: word lists, beats with their wordings, plots, questions and summaries.

A story is a plot; a plot is a sequence of beats; each beat is one sentence, made from one of its templates. The same
templates serve the generator (`corpus.py`, which fills them) and the parser (`faults.py`, which matches them).

Every story has one of each kind; hero, thing and animal are named again after they were introduced:

    {hero}               a name; {he} {his} {him} {girl} follow its gender
    {colour} {object}    the thing of the hero
    {place}              where the story happens
    {animal}             whom the hero meets

Templates are lower case, written as a reader would see them; one template tells one beat.
"""

GIRLS = ("anna", "clara", "lily", "mia", "nora")
BOYS = ("ben", "leo", "max", "sam", "tom")
COLOURS = ("black", "blue", "green", "red", "white", "yellow")
OBJECTS = ("ball", "bell", "boat", "book", "cup", "drum", "hat", "kite")
PLACES = ("beach", "bridge", "farm", "forest", "garden", "hill", "lake", "market")
ANIMALS = ("bear", "cat", "crow", "dog", "duck", "fox", "goat", "rabbit")

NAMES = GIRLS + BOYS

BEATS = {
    # told in every plot
    "open": (
        "once there was a {girl} named {hero} who had a {colour} {object}.",
        "{hero} was a little {girl} who loved {his} {colour} {object}.",
        "a {girl} named {hero} had a {colour} {object} and took it everywhere.",
    ),
    "journey": (
        "one day {he} went to the {place} with the {object}.",
        "one morning {hero} took the {object} to the {place}.",
        "early in the morning {he} walked to the {place}.",
    ),
    "weather": (
        "the sun was warm and the sky was clear.",
        "a cold wind blew over the grass.",
    ),
    # lost: the thing is lost, and the animal finds it
    "lost_play": (
        "there {he} played with a {animal} and forgot the {object}.",
        "{he} saw a {animal} and put the {object} down.",
        "a {animal} came by, and {hero} ran after it.",
    ),
    "lost_gone": (
        "soon the {colour} {object} was gone.",
        "when {he} came back, the {object} was gone.",
        "then {he} could not find the {colour} {object}.",
    ),
    "lost_cry": (
        "“where is my {object}?” cried {hero}.",
        "{hero} sat down and cried.",
    ),
    "lost_found": (
        "but the {animal} found the {object} at the {place}.",
        "the {animal} looked under the leaves, and there was the {colour} {object}.",
        "at last the {animal} found it behind a stone.",
    ),
    "lost_end": (
        "{hero} thanked the {animal} and took the {object} home.",
        "{hero} danced with the {animal} all over the {place}.",
        "{he} left the {place} and never lost the {object} again.",
    ),
    # gift: the animal is sad, and the hero gives it the thing
    "gift_meet": (
        "there {he} met a {animal} that was very sad.",
        "at the {place} a {animal} sat all alone.",
        "a little {animal} sat under a tree and cried.",
    ),
    "gift_ask": (
        "“why are you sad?” asked {hero}.",
        "“nobody plays with me,” said the {animal}.",
    ),
    "gift_think": (
        "{hero} looked at the {colour} {object} and thought for a while.",
        "{he} wanted to make the {animal} happy.",
        "{hero} knew how to help the {animal}.",
    ),
    "gift_give": (
        "“this {colour} {object} is for you,” {he} said.",
        "so {he} gave the {object} to the {animal}.",
        "then {hero} put the {colour} {object} in front of it.",
    ),
    "gift_end": (
        "the {animal} was happy and kept the {object}.",
        "from that day on, {hero} and the {animal} met at the {place}.",
        "{hero} went home without the {object}, but {he} was happy.",
    ),
    # thief: the animal takes the thing, and the hero gets it back
    "thief_take": (
        "suddenly a {animal} took the {object} and ran away.",
        "a hungry {animal} came out and took the {colour} {object}.",
        "near the {place} a {animal} jumped up and took it from {him}.",
    ),
    "thief_shout": (
        "“stop! that is my {object}!” shouted {hero}.",
        "“come back!” {he} shouted.",
    ),
    "thief_chase": (
        "{hero} ran after the {animal} all over the {place}.",
        "{he} followed the {animal} around the {place}.",
        "the {animal} was fast, but {hero} was faster.",
    ),
    "thief_drop": (
        "the {animal} was tired and let the {object} fall.",
        "at last it let the {colour} {object} fall into the grass.",
        "so the {animal} got some bread for the {object}.",
    ),
    "thief_end": (
        "{hero} picked up the {object} and went home.",
        "{he} left the {place} with the {colour} {object} and laughed.",
        "back home, {hero} hid the {object} under {his} bed.",
    ),
    # rescue: the animal is in a hole, and the thing helps to get it out
    "rescue_hear": (
        "at the {place} a {animal} had fallen into a deep hole.",
        "there {he} heard a {animal} call for help.",
        "{he} saw a {animal} that could not get out of a hole.",
    ),
    "rescue_say": (
        "“do not be afraid,” said {hero}.",
        "“please help me,” said the {animal}.",
    ),
    "rescue_idea": (
        "{hero} had a plan and took out the {colour} {object}.",
        "“i will try my {object},” {he} said.",
        "so {he} let down the {colour} {object} on a rope.",
    ),
    "rescue_out": (
        "the {animal} held on to the {object} and climbed out.",
        "with the help of the {colour} {object}, the {animal} was free.",
        "{hero} pulled the {animal} out with the {object}.",
    ),
    "rescue_end": (
        "the {animal} thanked {hero} and showed {him} the {place}.",
        "{he} took the {animal} home and gave it some bread.",
        "then the {animal} went home, and {hero} kept the {object}.",
    ),
    # mend: the thing breaks, and the animal mends it
    "mend_fall": (
        "there a {animal} jumped up, and {he} let the {object} fall.",
        "a big {animal} made a loud noise, and the {object} fell down.",
        "{he} fell over a {animal}, and the {colour} {object} hit a stone.",
    ),
    "mend_broken": (
        "now the {colour} {object} was broken.",
        "{hero} saw that the {object} had a hole.",
        "the {object} broke in two.",
    ),
    "mend_cry": (
        "“oh no, my poor {object}!” cried {hero}.",
        "{he} cried and cried.",
    ),
    "mend_offer": (
        "“i can mend it,” said the {animal}.",
        "the {animal} was sorry and wanted to help {him}.",
        "“give me the {object},” the {animal} said.",
    ),
    "mend_done": (
        "it worked until the {colour} {object} was like new.",
        "soon the {animal} gave the {object} back to {hero}.",
        "the {animal} mended it with a rope from the {place}.",
    ),
    "mend_end": (
        "{hero} never took the {object} to the {place} again.",
        "“you are a good friend,” {he} said to the {animal}.",
        "back home, {hero} put the {object} in a safe place.",
    ),
}

#: A plot is its beats in order; a trailing "?" marks a beat that can be left out.
PLOTS = {
    "lost": "open journey weather? lost_play lost_gone lost_cry? lost_found lost_end",
    "gift": "open journey weather? gift_meet gift_ask? gift_think? gift_give gift_end",
    "thief": "open journey weather? thief_take thief_shout? thief_chase? thief_drop thief_end",
    "rescue": "open journey weather? rescue_hear rescue_say? rescue_idea rescue_out rescue_end",
    "mend": "open journey weather? mend_fall mend_broken mend_cry? mend_offer? mend_done mend_end",
}

#: Probability that an optional beat, marked "?", occurs.
OPTIONAL = 0.3

#: Probabilities of the templates of a beat, by how many there are. The first is the commonest, as in natural text:
#: where several wordings are possible, the likeliest words of the next places then come from one and the same.
SHARES = {2: (0.6, 0.4), 3: (0.5, 0.3, 0.2)}

#: Questions about any story, then those of one plot: (question, answer).
QUESTIONS = {
    "": (
        ("what colour was the {object}?", "{colour}."),
        ("where did {hero} go?", "to the {place}."),
        ("which animal was there?", "a {animal}."),
        ("who had the {object} at first?", "{hero}."),
        ("what did {hero} have?", "a {colour} {object}."),
    ),
    "lost": (("who found the {object}?", "the {animal}."), ("what was lost?", "the {colour} {object}.")),
    "gift": (("who has the {object} now?", "the {animal}."), ("what was the gift?", "the {colour} {object}.")),
    "thief": (("who took the {object}?", "the {animal}."), ("who has the {object} now?", "{hero}.")),
    "rescue": (("who was in the hole?", "the {animal}."), ("who saved the {animal}?", "{hero}.")),
    "mend": (("who mended the {object}?", "the {animal}."), ("what was broken?", "the {colour} {object}.")),
}

SUMMARIES = {
    "lost": (
        "{hero} lost a {colour} {object}, and the {animal} found it.",
        "a {animal} found the {object} that {hero} lost at the {place}.",
    ),
    "gift": (
        "{hero} gave a {colour} {object} to a sad {animal}.",
        "at the {place} a {animal} got a {object} from {hero}.",
    ),
    "thief": (
        "a {animal} took the {colour} {object}, but {hero} got it back.",
        "{hero} got back the {object} that a {animal} took at the {place}.",
    ),
    "rescue": (
        "{hero} saved a {animal} with a {colour} {object}.",
        "at the {place} {hero} helped a {animal} out of a hole.",
    ),
    "mend": (
        "the {colour} {object} of {hero} broke, and a {animal} mended it.",
        "a {animal} mended the {object} that broke at the {place}.",
    ),
}

QUESTION, ANSWER, SUMMARY = "question:", "answer:", "summary:"
#: Share of the texts that are a story alone, with a question and its answer, with a summary.
TASKS = {"story": 0.4, "question": 0.4, "summary": 0.2}
