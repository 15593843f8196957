//! The tests of the library, as one program: a program for each file would link the library two dozen times.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;
mod files;
mod golden;
mod gradient;
mod layer;
mod tiny;

mod allocation;
mod as_saved;
mod autograd;
mod card;
mod checkpoint;
mod depth;
mod end_to_end;
mod evaluation;
mod every_family;
mod experts;
mod families;
mod faults;
mod hostile_columns;
mod hostile_config;
mod hostile_files;
mod hostile_plans;
mod hostile_resume;
mod hostile_texts;
mod hub;
mod layering;
mod methods;
mod real_models;
mod reconstruction;
mod reference;
mod resume;
mod shrink;
mod text;
mod walks;
