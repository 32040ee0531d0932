//! The arguments that certificates are judged by.
use clap::Args;

use super::strict::Strict;

/// Limits of the certificates, and what an invalid point does to the exit code.
#[derive(Args, Debug)]
pub struct ValidityArgs {
    /// End with exit code 5 when some point's figures are invalid; =checked: also when something could not be checked, or name
    /// the checks, =compile_in_trial,input_ids
    #[arg(long, env = "TACHO_STRICT", hide_env = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "WHAT", help_heading = "Validity")]
    pub strict: Option<Strict>,
    /// The share of a trial that may pass outside the engine's calls [default: 2%]
    #[arg(long, value_name = "FRACTION", env = "TACHO_MAX_HARNESS_SHARE", hide_env = true, help_heading = "Validity")]
    pub max_harness_share: Option<String>,
    /// The share of the machine that others may keep busy while an engine works on the processor; 100% for no limit [default: 5%]
    #[arg(long, value_name = "FRACTION", env = "TACHO_MAX_MACHINE_LOAD", hide_env = true, help_heading = "Validity")]
    pub max_machine_load: Option<String>,
    /// How long a trial must take [default: 100ms]
    #[arg(long, value_name = "TIME", env = "TACHO_MIN_DURATION", hide_env = true, help_heading = "Validity")]
    pub min_duration: Option<String>,
    /// Sequences that may be evicted and started over in a trial [default: 0]
    #[arg(long, value_name = "N", env = "TACHO_MAX_PREEMPTIONS", hide_env = true, help_heading = "Validity")]
    pub max_preemptions: Option<u32>,
    /// Whether a trial in which a GPU ran at its power limit is invalid: refuse or accept [default: refuse]
    #[arg(long, value_name = "WHAT", env = "TACHO_POWER_CAP", hide_env = true, help_heading = "Validity")]
    pub power_cap: Option<String>,
}
