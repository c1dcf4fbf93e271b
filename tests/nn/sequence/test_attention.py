"""Attention by hand, positions, and the recurrent encoder."""

import math

import pytest
import torch

from pyrogen.nn import AttentionBlock, RecurrentEncoder, TransformerEncoder
from pyrogen.nn.sequence.attention import KVCache


def test_attention_by_hand() -> None:
    block, tokens = AttentionBlock(6, heads=2), torch.randn(3, 5, 6)
    normal = block.norms[0](tokens)
    query, key, value = (part.reshape(3, 5, 2, 3) for part in block.qkv_proj(normal).chunk(3, -1))
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(math.sqrt(3)).softmax(-1)
    middle = tokens + block.out_proj(torch.einsum("bhqk,bkhd->bqhd", weights, value).reshape(3, 5, 6))
    torch.testing.assert_close(block(tokens), middle + block.dense(block.norms[1](middle)))


def test_causal_attention_does_not_depend_on_later_tokens() -> None:
    block, tokens = AttentionBlock(6, heads=2, causal=True), torch.randn(1, 5, 6)
    later = tokens.clone()
    later[:, 3:] += 1
    torch.testing.assert_close(block(tokens)[:, :3], block(later)[:, :3])
    assert not torch.allclose(block(tokens)[:, 3:], block(later)[:, 3:])


def test_a_transformer_depends_on_the_order_of_its_tokens() -> None:
    network, x = TransformerEncoder((4, 3), 2), torch.randn(4, 3)
    assert not torch.allclose(network(x), network(x.flip(0)))


def test_cached_attention_gives_token_by_token_what_a_whole_pass_gives() -> None:
    block, tokens, cache = AttentionBlock(6, heads=2, causal=True), torch.randn(3, 5, 6), KVCache()
    steps = torch.cat([block(token, cache) for token in tokens.split(1, dim=1)], 1)
    torch.testing.assert_close(steps, block(tokens))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads must divide width, got heads=4 and width=10"):
        TransformerEncoder((1, 8, 8), 2, width=10)


def test_a_recurrent_encoder_is_linear_in_its_last_state() -> None:
    network, x = RecurrentEncoder((5, 2), 3), torch.randn(5, 2)
    states, _ = network.gru(x)
    torch.testing.assert_close(network(x), network.last(states[-1]))
