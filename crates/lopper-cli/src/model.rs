//! From what the user names to a directory and a plan.

use std::path::{Path, PathBuf};

use lopper::hub;
use lopper::plan::Plan;
use lopper::progress::Observer;
use lopper::{Error, Result};

use crate::args::PlanOptions;
use crate::demo::{DEMO, Demo};
use crate::interrupt::Interrupt;

/// A model on this machine.
pub struct Model {
    /// As the user named it.
    pub name: String,
    directory: PathBuf,
    demo: Option<Demo>,
}

impl Model {
    /// Finds the model called `name`: a directory, the demo, or a Hub id, which is downloaded.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn locate(name: &str, interrupt: &Interrupt, observer: &mut dyn Observer) -> Result<Self> {
        if name == DEMO {
            let demo = Demo::unpack(interrupt)?;
            return Ok(Self { name: name.into(), directory: demo.model(), demo: Some(demo) });
        }
        Ok(Self { name: name.into(), directory: hub::locate(name, &mut hub::announce(observer))?, demo: None })
    }

    /// Where the checkpoint is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The demo, if it is this model.
    pub fn demo(&self) -> Option<&Demo> {
        self.demo.as_ref()
    }
}

/// Finds the model and settles the plan of `prune` and `explain`: defaults, the file of `--plan`, flags, in this order.
///
/// # Errors
/// If neither MODEL nor the plan names a model, or one of them cannot be read.
pub fn settle(
    model: Option<&str>,
    options: &PlanOptions,
    interrupt: &Interrupt,
    observer: &mut dyn Observer,
) -> Result<(Model, Plan)> {
    let file = options.plan.as_deref().map(Plan::read).transpose()?;
    let named = file.as_ref().map(|plan| plan.model.as_str()).filter(|name| !name.is_empty());
    let name = model.or(named).ok_or_else(|| Error::Plan {
        problem: "no model is named".into(),
        hint: Some("give a directory, a Hub id, or `demo`, before flags that take several values: lopper prune demo -o demo-pruned".into()),
    })?;
    let model = Model::locate(name, interrupt, observer)?;
    let demo_plan = model.demo().map(|_| Demo::plan()).unwrap_or_default();
    let mut plan = file.unwrap_or(demo_plan);
    plan.model.clone_from(&model.name);
    options.apply(&mut plan);
    Ok((model, plan))
}
