//! Writes `model/tokenizer.json`: `cargo run -p lopper-demo --example train_tokenizer`.

mod trainer;

fn main() -> tokenizers::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/model/tokenizer.json");
    trainer::train()?.save(path, true)?;
    println!("{path}");
    Ok(())
}
