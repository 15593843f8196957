//! Machines that fail while a run is under way.

use crate::demo;

use std::fs;

use demo::{Demo, weights};
use lopper::Error;
use lopper::progress::{Event, Silent};
use lopper::prune::{prune, unfinished};

#[test]
fn a_model_that_can_no_longer_be_read_ends_the_run_and_loses_nothing() {
    let demo = Demo::new();
    let (plan, out) = (demo.short(), demo.path("out"));
    demo.prune(&plan, "whole").unwrap();
    let file = demo.path("model/model.safetensors");
    let whole = fs::read(&file).unwrap();
    let (mut pruning, mut done) = (false, 0);
    let mut cut = |event: Event| match event {
        Event::Stage { name } => pruning = name.starts_with("pruning"),
        Event::Progress(_) if pruning => {
            done += 1;
            if done == 2 {
                fs::File::options().write(true).open(&file).unwrap().set_len(whole.len() as u64 / 4).unwrap();
            }
        }
        _ => (),
    };
    let error = prune(&plan, &demo.open("model").unwrap(), &out, &mut cut).unwrap_err();
    assert!(matches!(&error, Error::Io { action: "read", path, .. } if *path == file), "{error:?}");
    assert!(unfinished(&out).is_some() && !out.exists());
    fs::write(&file, &whole).unwrap();
    let report = prune(&plan, &demo.open("model").unwrap(), &out, &mut Silent).unwrap();
    assert!(report.windows.len() == 8 && weights(&demo.path("whole")) == weights(&out));
}
