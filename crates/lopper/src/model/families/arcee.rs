//! Arcee (AFM, 2025): Llama with a feed-forward layer of squared ReLU that is not gated.

use lopper_kernels::Activation;

use super::config::Config;
use super::llama_form::LlamaForm;
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

const ACTIVATIONS: [(&str, Activation); 3] =
    [("relu2", Activation::ReluSquared), ("relu", Activation::Relu), ("silu", Activation::Silu)];

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::with_activation(config, "arcee", LlamaForm::head_dim(config)?, &ACTIVATIONS)?;
    form.norm = Norm::rms(config.epsilon("rms_norm_eps", 1e-5)?);
    form.gated = false;
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.output_bias = form.input_bias;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
