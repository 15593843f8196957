//! Prints documents: `cargo run -p lopper-demo --example sample -- 5` for the first five.

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(10);
    for document in lopper_demo::generate(lopper_demo::TRAINING_SEED, count) {
        println!("{document}\n");
    }
}
