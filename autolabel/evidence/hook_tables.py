"""Where TransformerLens' hooks are in the models of transformers, family by family.

A name within a layer follows `blocks.L.`; a place is a canonical name of ours (see `hooks`), with {L} for the number of the layer.
"""

LLAMA = {
    "hook_embed": "embed_tokens",
    "ln_final.hook_normalized": "norm:normalized",
    "hook_resid_pre": "layers.{L}:input",
    "hook_resid_mid": "layers.{L}.post_attention_layernorm:input",
    "hook_resid_post": "layers.{L}",
    "hook_attn_out": "layers.{L}.self_attn",
    "hook_mlp_in": "layers.{L}.post_attention_layernorm:input",
    "hook_mlp_out": "layers.{L}.mlp",
    "attn.hook_in": "layers.{L}.self_attn:input",
    "attn.hook_out": "layers.{L}.self_attn",
    "attn.hook_z": "layers.{L}.self_attn.o_proj:input",
    "mlp.hook_in": "layers.{L}.mlp:input",
    "mlp.hook_out": "layers.{L}.mlp",
    "mlp.hook_pre": "layers.{L}.mlp.gate_proj",
    "mlp.hook_post": "layers.{L}.mlp.down_proj:input",
    "ln1.hook_normalized": "layers.{L}.input_layernorm:normalized",
    "ln2.hook_normalized": "layers.{L}.post_attention_layernorm:normalized",
}
"""TransformerLens' name of a hook → where it is; within a layer, the name follows `blocks.L.`."""
GEMMA = LLAMA | {"hook_embed": "layers.0:input"}
"""TransformerLens scales Gemma's embeddings by √d before this hook; what enters the first layer is scaled in every version."""
GEMMA2 = GEMMA | {
    "hook_resid_mid": "layers.{L}.pre_feedforward_layernorm:input",
    "hook_mlp_in": "layers.{L}.pre_feedforward_layernorm:input",
    "ln2.hook_normalized": "layers.{L}.pre_feedforward_layernorm:normalized",
    "hook_attn_out": "layers.{L}.post_attention_layernorm",
    "hook_mlp_out": "layers.{L}.post_feedforward_layernorm",
}
"""Attention and MLP have a norm after them as well; what is added to the residual stream comes out of that norm."""
GPT2 = {
    "hook_embed": "wte",
    "hook_pos_embed": "wpe",
    "ln_final.hook_normalized": "ln_f:normalized",
    "hook_resid_pre": "h.{L}:input",
    "hook_resid_mid": "h.{L}.ln_2:input",
    "hook_resid_post": "h.{L}",
    "hook_attn_out": "h.{L}.attn",
    "hook_mlp_in": "h.{L}.ln_2:input",
    "hook_mlp_out": "h.{L}.mlp",
    "attn.hook_in": "h.{L}.attn:input",
    "attn.hook_out": "h.{L}.attn",
    "attn.hook_z": "h.{L}.attn.c_proj:input",
    "mlp.hook_in": "h.{L}.mlp:input",
    "mlp.hook_out": "h.{L}.mlp",
    "mlp.hook_pre": "h.{L}.mlp.c_fc",
    "mlp.hook_post": "h.{L}.mlp.c_proj:input",
    "ln1.hook_normalized": "h.{L}.ln_1:normalized",
    "ln2.hook_normalized": "h.{L}.ln_2:normalized",
}
NEOX = {
    "hook_embed": "embed_in",
    "ln_final.hook_normalized": "final_layer_norm:normalized",
    "hook_resid_pre": "layers.{L}:input",
    "hook_resid_post": "layers.{L}",
    "hook_attn_out": "layers.{L}.attention",
    "hook_mlp_in": "layers.{L}.post_attention_layernorm:input",
    "hook_mlp_out": "layers.{L}.mlp",
    "attn.hook_in": "layers.{L}.attention:input",
    "attn.hook_out": "layers.{L}.attention",
    "attn.hook_z": "layers.{L}.attention.dense:input",
    "mlp.hook_in": "layers.{L}.mlp:input",
    "mlp.hook_out": "layers.{L}.mlp",
    "mlp.hook_pre": "layers.{L}.mlp.dense_h_to_4h",
    "mlp.hook_post": "layers.{L}.mlp.dense_4h_to_h:input",
    "ln1.hook_normalized": "layers.{L}.input_layernorm:normalized",
    "ln2.hook_normalized": "layers.{L}.post_attention_layernorm:normalized",
}
"""Attention and MLP read the same residual stream, so there is no `hook_resid_mid`."""
FAMILIES = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA2,
    "gemma3_text": GEMMA2,
    "gpt2": GPT2,
    "gpt_neox": NEOX,
}
GUESSES = (GEMMA2, LLAMA, NEOX, GPT2)
"""A model of an unknown type is taken for the first of these whose attention, MLP and norms it all has; the load gate is the judge."""
LAYER_ALONE = (
    {"hook_resid_pre": "layers.{L}:input", "hook_resid_post": "layers.{L}"},
    {"hook_resid_pre": "h.{L}:input", "hook_resid_post": "h.{L}"},
    {"hook_resid_pre": "blocks.{L}:input", "hook_resid_post": "blocks.{L}"},
)
"""What is known of a model that looks like none of them."""

ALIASES = {
    "hook_in": "hook_resid_pre",
    "hook_out": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "resid": "hook_resid_post",
    "mlp_out": "mlp.hook_out",
    "mlp": "mlp.hook_out",
    "attn_out": "attn.hook_out",
    "attention_out": "attn.hook_out",
    "attn": "attn.hook_out",
}
"""Other names of the same places: those of newer TransformerLens and those of dictionary_learning, which reads modules' own outputs."""
