"""Recording transformers models: the output does not change by a bit, the statistics are those of eager attention."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

from sap_core.attention.recorder import record_attention
from sap_core.errors import OperationFailed
from sap_core.models.loading import load_model

SIZE = 40


def load(folder, attention="sdpa", **options):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention, **options)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("gpt2")
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    """With a sliding window in one layer, so that layers have different masks."""
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("qwen3")
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 64}
    window = {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}
    Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, **window, initializer_range=0.3)).save_pretrained(folder)
    return folder


@pytest.fixture
def batch():
    torch.manual_seed(0)
    tokens = torch.randint(3, 96, (3, SIZE))
    padding = torch.ones_like(tokens)
    padding[1, :7] = 0
    padding[2, -5:] = 0
    return tokens, padding


def expected(folder, tokens, padding, masked):
    """The four statistics from eager attention's full maps, over valid queries only."""
    options = {} if padding is None else {"attention_mask": padding}
    maps = load(folder, "eager")(input_ids=tokens, output_attentions=True, use_cache=False, **options).attentions
    attention = torch.stack(maps, 1).double()
    valid = torch.ones_like(tokens) if padding is None else padding
    weight = (valid / valid.sum(1, keepdim=True)).double()
    place = torch.arange(SIZE)
    entropy = -torch.special.xlogy(attention, attention).sum(-1)
    distance = (attention * (place[:, None] - place).abs()).sum(-1)
    return {
        "received": torch.einsum("bi,blhij->blhj", weight, attention),
        "received_masked": torch.einsum("bi,blhij->blhj", weight * masked, attention),
        "entropy": torch.einsum("bi,blhi->blh", weight, entropy),
        "distance": torch.einsum("bi,blhi->blh", weight, distance),
    }


@pytest.mark.parametrize("name", ["tiny_diffusion", "tiny_causal", "gpt2", "qwen3"])
@pytest.mark.parametrize("padded", [False, True])
def test_bit_identical_output_and_the_statistics_of_eager(name, padded, batch, request):
    folder = request.getfixturevalue(name)
    tokens, padding = batch if padded else (batch[0], None)
    options = {"attention_mask": padding} if padded else {}
    masked = torch.rand(tokens.shape) < 0.5
    model = load(folder)
    plain = model(input_ids=tokens, use_cache=False, **options).logits
    with record_attention(model, chunk=16) as recorder:
        recorder.masked = masked
        captured = model(input_ids=tokens, use_cache=False, **options).logits
        stats = recorder.collect()
    assert torch.equal(captured, plain)
    assert torch.equal(model(input_ids=tokens, use_cache=False, **options).logits, plain)
    for statistic, exact in expected(folder, tokens, padding, masked).items():
        found = getattr(stats, statistic)
        assert found.dtype == torch.float32 and found.shape == exact.shape
        torch.testing.assert_close(found.double(), exact, atol=1e-6, rtol=1e-6, msg=statistic)
    torch.testing.assert_close(stats.received.sum(-1), torch.ones(stats.received.shape[:-1]))


def test_eager_models_are_recorded_too(tiny_diffusion, batch):
    tokens, padding = batch
    model = load(tiny_diffusion, "eager")
    plain = model(input_ids=tokens, attention_mask=padding).logits
    with record_attention(model) as recorder:
        assert torch.equal(model(input_ids=tokens, attention_mask=padding).logits, plain)
        stats = recorder.collect()
    exact = expected(tiny_diffusion, tokens, padding, torch.zeros_like(tokens))
    torch.testing.assert_close(stats.received.double(), exact["received"], atol=1e-6, rtol=1e-6)


def test_additive_four_dimensional_masks(tiny_diffusion, batch):
    """Block-causal attention: blocks of 8, given as an additive float mask."""
    tokens, _ = batch
    block = torch.arange(SIZE) // 8
    mask = torch.where(block[:, None] >= block, 0.0, torch.finfo(torch.float32).min).expand(3, 1, SIZE, SIZE)
    model = load(tiny_diffusion)
    plain = model(input_ids=tokens, attention_mask=mask).logits
    with record_attention(model, chunk=16) as recorder:
        assert torch.equal(model(input_ids=tokens, attention_mask=mask).logits, plain)
        stats = recorder.collect()
    maps = load(tiny_diffusion, "eager")(input_ids=tokens, attention_mask=mask, output_attentions=True).attentions
    torch.testing.assert_close(stats.received, torch.stack(maps, 1).mean(-2), atol=1e-6, rtol=1e-6)


def test_half_precision_output_does_not_change(tiny_diffusion, batch):
    tokens, padding = batch
    model = load(tiny_diffusion, dtype=torch.bfloat16)
    plain = model(input_ids=tokens, attention_mask=padding).logits
    with record_attention(model) as recorder:
        assert torch.equal(model(input_ids=tokens, attention_mask=padding).logits, plain)
        assert torch.isfinite(recorder.collect().received).all()


def test_masked_queries_are_the_mask_tokens_of_a_loaded_model(tiny_diffusion, batch):
    model = load_model(str(tiny_diffusion))
    tokens = batch[0].clone()
    tokens[:, 10:20] = model.info.mask_token_id
    with record_attention(model) as recorder:
        model.logits(tokens)
        found = recorder.collect()
        recorder.masked = torch.zeros_like(tokens, dtype=torch.bool)
        model.logits(tokens)
        none = recorder.collect()
    assert (none.received_masked == 0).all() and torch.equal(none.received, found.received)
    share = found.received_masked.sum(-1)
    torch.testing.assert_close(share, torch.full_like(share, 10 / SIZE))


def test_unobserved_forwards_leave_nothing(tiny_diffusion, batch):
    model = load_model(str(tiny_diffusion))
    with record_attention(model) as recorder:
        model.logits(batch[0], observed=False)
        with pytest.raises(OperationFailed, match="No forward pass"):
            recorder.collect()
        model.logits(batch[0])
        model.logits(batch[0], observed=False)
        recorder.collect()
        with pytest.raises(OperationFailed, match="No forward pass"):
            recorder.collect()


def test_a_layer_that_does_not_report_is_an_error(tiny_diffusion, batch, monkeypatch):
    model = load(tiny_diffusion)
    attention = model.model.layers[1].self_attn
    monkeypatch.setattr(attention, "forward", lambda hidden_states, **_: (hidden_states, None))
    with pytest.raises(OperationFailed, match=r"layers.1.self_attn .* can't be seen, while 2 other layers can"):
        with record_attention(model):
            model(input_ids=batch[0])


def test_a_cache_is_refused_because_its_keys_have_no_queries(tiny_causal, batch):
    model = load(tiny_causal)
    past = model(input_ids=batch[0][:, :10], use_cache=True).past_key_values
    with record_attention(model), pytest.raises(OperationFailed, match="use_cache=False"):
        model(input_ids=batch[0][:, 10:14], past_key_values=past)


def test_two_recordings_of_one_model_are_refused_and_the_model_is_put_back(tiny_diffusion, batch):
    model = load(tiny_diffusion)
    with record_attention(model):
        assert model.config._attn_implementation == "sap_sdpa"
        with pytest.raises(OperationFailed, match="already"), record_attention(model):
            pass
    with pytest.raises(ZeroDivisionError), record_attention(model):
        1 / 0  # noqa: B018
    assert model.config._attn_implementation == "sdpa"
    with record_attention(model) as recorder:
        model(input_ids=batch[0])
        assert recorder.collect().received.shape == (3, 3, 4, SIZE)


def test_models_that_cannot_be_recorded_say_why(tiny_diffusion):
    model = load(tiny_diffusion)
    with pytest.raises(OperationFailed, match="no attention layer"), record_attention(torch.nn.Linear(2, 2)):
        pass
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(OperationFailed, match="sdpa or eager"), record_attention(model):
        pass


class OwnCode(torch.nn.Module):
    """Code of its own that calls torch's attention: 2 layers, 2 heads of 8, with a mask for padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.embed = torch.nn.Embedding(96, 16)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(16, 48) for _ in range(2))
        self.head = torch.nn.Linear(16, 96)

    def split(self, projection, hidden):
        parts = projection(hidden).chunk(3, -1)
        return (part.unflatten(-1, (2, 8)).transpose(1, 2) * 3 for part in parts)

    def forward(self, input_ids, attention_mask=None):
        mask = None if attention_mask is None else attention_mask[:, None, None].bool()
        hidden = self.embed(input_ids)
        for projection in self.projections:
            query, key, value = self.split(projection, hidden)
            attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
            hidden = hidden + attended.transpose(1, 2).flatten(2)
        return self.head(hidden)


class Owner:
    """What `record_attention` needs to know of a model with code of its own."""

    records_through = "functional"
    observed = True

    def __init__(self, layers):
        self.module = OwnCode().eval().requires_grad_(False)
        self.info = type("Info", (), {"layers": layers, "mask_token_id": 2})


def test_code_that_calls_torch_attention_itself(batch):
    tokens, padding = batch
    owner = Owner(layers=2)
    plain = owner.module(tokens, attention_mask=padding)
    with record_attention(owner, chunk=16) as recorder:
        assert torch.equal(owner.module(tokens, attention_mask=padding), plain)
        stats = recorder.collect()
    query, key, _ = owner.module.split(owner.module.projections[0], owner.module.embed(tokens))
    logits = (query @ key.transpose(-1, -2) * 0.3).masked_fill(padding[:, None, None] == 0, -torch.inf)
    rows = torch.softmax(logits.double(), -1)
    exact = torch.einsum("bi,bhij->bhj", (padding / padding.sum(1, keepdim=True)).double(), rows)
    torch.testing.assert_close(stats.received[:, 0].double(), exact, atol=1e-6, rtol=1e-6)
    assert stats.received.shape == (3, 2, 2, SIZE)


@pytest.mark.parametrize(
    ("layers", "message"), [(3, "2 attention maps.* its 3 layers"), (1, "2 attention maps.* its 1 layers")]
)
def test_code_of_its_own_with_another_number_of_layers_is_refused(layers, message):
    owner = Owner(layers=layers)
    with pytest.raises(OperationFailed, match=message), record_attention(owner):
        pass
