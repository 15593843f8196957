//! The studies inside this program. One file per study; this table is all that names them.

use super::definition::Study;
use super::wrong;
use crate::error::Result;

/// A study inside this program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file.
    pub toml: &'static str,
}

/// Every study this program knows.
pub const STUDIES: &[BuiltIn] = &[
    BuiltIn { name: "calibration", toml: include_str!("builtin/calibration.toml") },
    BuiltIn { name: "damping", toml: include_str!("builtin/damping.toml") },
    BuiltIn { name: "granularity", toml: include_str!("builtin/granularity.toml") },
    BuiltIn { name: "methods", toml: include_str!("builtin/methods.toml") },
    BuiltIn { name: "rate", toml: include_str!("builtin/rate.toml") },
    BuiltIn { name: "scaling", toml: include_str!("builtin/scaling.toml") },
];

impl BuiltIn {
    /// As a study.
    ///
    /// # Errors
    /// If its file is none, which a test rules out.
    pub fn study(&self) -> Result<Study> {
        Study::parse(self.toml, self.name)
    }

    /// By name.
    ///
    /// # Errors
    /// If there is none of that name; the hint lists them.
    pub fn by_name(name: &str) -> Result<Self> {
        STUDIES.iter().find(|study| study.name == name).copied().ok_or_else(|| {
            let known: Vec<_> = STUDIES.iter().map(|study| study.name).collect();
            let hint = format!("known: {}; or give a TOML file", known.join(", "));
            wrong(&format!("there is no study {name:?}"), &hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::STUDIES;
    use crate::plan::Plan;
    use crate::study::Runner;

    #[test]
    fn every_study_is_valid_and_has_the_name_it_goes_by() {
        for known in STUDIES {
            let mut study = known.study().expect("a study");
            assert_eq!(study.name, known.name);
            match study.runner {
                Runner::Solver => drop(study.timings().expect("timings")),
                Runner::Prune => {
                    study.settle(&Plan::default(), |plan| plan.evaluation.texts = vec!["demo".into()]).expect("a plan");
                    let home = tempfile::tempdir().expect("directory");
                    lopper_demo::write_model(&home.path().join("demo")).expect("written");
                    let checkpoint =
                        crate::checkpoint::Checkpoint::open(&home.path().join("demo")).expect("a checkpoint");
                    let model = crate::model::Decoder::open(checkpoint).expect("a model");
                    let cases = study.plans(&model).expect("plans for the demo");
                    assert!(cases.len() > 3, "{}", known.name);
                }
            }
        }
    }
}
