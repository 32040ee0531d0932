//! The boundaries at which the same work can be handed to an engine, from the innermost out.
use serde::{Deserialize, Serialize};

/// A boundary of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The step loop in the cell's process: ids in, ids out.
    Steps,
    /// The engine's own generate call in the cell's process: ids in, ids out.
    Generate,
    /// The same call with texts as prompts.
    TextIn,
    /// The same with outputs decoded to text, too.
    TextOut,
    /// The generate call of an engine that computes in child processes: ids in, ids out.
    Child,
    /// The same with what the engine's server does to requests of the ledger: ids or text in, text out.
    ChildOut,
    /// The engine's own OpenAI-compatible server, streaming.
    Http,
}

impl Rung {
    /// All, the innermost first.
    pub const ALL: [Self; 7] =
        [Self::Steps, Self::Generate, Self::TextIn, Self::TextOut, Self::Child, Self::ChildOut, Self::Http];

    /// As tables and `--rungs` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Generate => "generate",
            Self::TextIn => "text-in",
            Self::TextOut => "text-out",
            Self::Child => "child",
            Self::ChildOut => "child-out",
            Self::Http => "http",
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = Self::ALL.iter().map(|rung| rung.as_str()).collect();
        let found = Self::ALL.into_iter().find(|rung| rung.as_str() == name.trim());
        found.ok_or_else(|| format!("expected {}; found '{name}'", names.join(", ")))
    }

    /// What is done there, for a person.
    pub fn what(self) -> &'static str {
        match self {
            Self::Steps => "step loop in the cell: ids → ids",
            Self::Generate => "generate call in the cell: ids → ids",
            Self::TextIn => "generate call in the cell: text → ids",
            Self::TextOut => "generate call in the cell: text → text",
            Self::Child => "generate call, engine in child processes: ids → ids",
            Self::ChildOut => "generate call, engine in child processes: as the server's prompts → text",
            Self::Http => "HTTP server: /v1/completions, streamed",
        }
    }

    /// What it may be held against, the nearest first: what it adds a layer to.
    pub fn bases(self) -> &'static [Self] {
        match self {
            Self::Steps => &[],
            Self::Generate => &[Self::Steps],
            Self::TextIn => &[Self::Generate],
            Self::TextOut => &[Self::TextIn, Self::Generate],
            Self::Child => &[Self::Generate, Self::Steps],
            Self::ChildOut => &[Self::Child],
            Self::Http => &[Self::ChildOut, Self::Child, Self::TextOut, Self::Generate, Self::Steps],
        }
    }

    /// What comes on top of a base.
    pub fn layer(self, base: Self) -> &'static str {
        match (base, self) {
            (Self::Steps, Self::Generate) => "the engine's own generate call in place of the step loop",
            (Self::Generate, Self::TextIn) => "tokenising prompts",
            (Self::TextIn, Self::TextOut) => "detokenising outputs",
            (Self::Generate, Self::TextOut) => "tokenising prompts and detokenising outputs",
            (Self::Generate | Self::Steps, Self::Child) => "child processes and messages between them",
            (Self::Child, Self::ChildOut) => "text at the child-core boundary",
            (Self::ChildOut, Self::Http) => "HTTP, JSON, streaming, the server's process",
            (Self::TextOut, Self::Http) => "the server: its processes, HTTP, JSON, streaming",
            (Self::Child, Self::Http) => "detokenising, HTTP, JSON, streaming, the server's process",
            (Self::Generate | Self::Steps, Self::Http) => {
                "the whole server: its processes, detokenising, HTTP, JSON, streaming"
            }
            _ => "everything between the two",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_bases_lie_further_in() {
        for rung in Rung::ALL {
            assert_eq!(Rung::parse(rung.as_str()), Ok(rung));
            assert_eq!(serde_json::to_value(rung).unwrap(), rung.as_str());
            assert!(rung.bases().iter().all(|base| *base < rung));
        }
        assert!(Rung::parse("grpc").unwrap_err().contains("steps, generate, text-in"));
    }
}
