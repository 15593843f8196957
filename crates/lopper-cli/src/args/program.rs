//! Arguments of what is about this program, and not about a model.

use std::path::PathBuf;

use clap::Args;

/// `lopper list`
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `lopper doctor`
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `lopper completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `lopper man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Directory to write one page per command to; created if absent
    pub dir: Option<PathBuf>,
}
