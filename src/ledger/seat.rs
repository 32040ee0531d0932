//! A process that takes turns: a cell, or a server.
use std::time::{Duration, Instant};

use super::{Rung, record::TurnRecord};
use crate::{
    cell::{
        parent::{Cell, CellError},
        protocol::{Load, Method, TrialKind, TrialSpec},
        text::TextSpec,
    },
    engine::EngineError,
    http::{Client, Endpoint, HttpError, Prompt, PromptKind, Server, body, run_batch},
    measure::DeviceClockMode,
    results::Discard,
    workload::WorkloadSpec,
};

/// One batch, as every rung gets it.
pub(super) struct Work {
    /// What a cell makes it from.
    pub spec: WorkloadSpec,
    /// Its prompts.
    pub ids: Vec<Vec<u32>>,
    /// Texts of them.
    pub texts: Option<Vec<String>>,
    /// Output tokens a request.
    pub output_tokens: u32,
    /// Numbers the turn, for logs.
    pub number: u32,
    /// How long it may take.
    pub within: Duration,
    /// As what the server takes prompts.
    pub server_prompt: PromptKind,
}

/// Why a turn gave no figure.
pub(super) struct Stop {
    /// A sentence.
    pub reason: String,
    /// Whether its process is gone.
    pub gone: bool,
}

/// A process that takes turns. Dropping it ends it.
pub(super) enum Seat {
    Cell(Box<Cell>),
    Server(Box<ServerSeat>),
}

/// A server, Tacho's own or one that runs already.
pub(super) struct ServerSeat {
    pub server: Option<Server>,
    pub endpoint: Endpoint,
    pub model: String,
    /// Its connections, for a number of requests in flight.
    client: Option<(usize, Client)>,
}

impl ServerSeat {
    pub fn new(server: Option<Server>, endpoint: Endpoint, model: String) -> Self {
        Self { server, endpoint, model, client: None }
    }

    fn turn(&mut self, work: &Work) -> Result<TurnRecord, Stop> {
        let in_flight = work.ids.len();
        let client = match &self.client {
            Some((of, client)) if *of == in_flight => client.clone(),
            _ => Client::new(&self.endpoint, in_flight, work.within),
        };
        self.client = Some((in_flight, client.clone()));
        let request = |index: usize, ids: &Vec<u32>| {
            let text = work.texts.as_ref().and_then(|texts| texts.get(index));
            let prompt = match (work.server_prompt, text) {
                (PromptKind::Text, Some(text)) => Prompt::Text(text),
                (PromptKind::Text, None) => return Err("the server takes text, and the prompts have none".to_owned()),
                (PromptKind::Ids, _) => Prompt::Ids(ids),
            };
            Ok((body(&self.model, prompt, work.output_tokens), ids.len() as u64, u64::from(work.output_tokens)))
        };
        let bodies: Result<Vec<_>, String> =
            work.ids.iter().enumerate().map(|(index, ids)| request(index, ids)).collect();
        let bodies = bodies.map_err(|reason| Stop { reason, gone: false })?;
        let batch = run_batch(&client, &bodies).map_err(|error| self.stopped(error))?;
        let inputs: Option<Vec<u64>> = batch.counted.iter().map(|counted| counted.input_tokens).collect();
        Ok(TurnRecord {
            seconds: batch.end_ns.saturating_sub(batch.start_ns) as f64 / 1e9,
            input_tokens: inputs.map(|inputs| inputs.iter().sum()),
            output_tokens: batch.counted.iter().map(|counted| counted.output_tokens).sum(),
            characters: Some(batch.counted.iter().map(|counted| counted.characters).sum()),
            first_event_ms: batch.first_ns.map(|ns| ns / 1e6),
            ..EMPTY
        })
    }

    /// A server of ours that has died says more than its client's error.
    fn stopped(&mut self, error: HttpError) -> Stop {
        // What it is doing may still bring it down, and its port is closed before its process is gone.
        let lost = matches!(error, HttpError::Half { .. } | HttpError::Connect { .. });
        let deadline = Instant::now() + Duration::from_secs(5);
        while lost && self.server.as_mut().is_some_and(Server::lives) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.server.as_mut().and_then(|server| (!server.lives()).then_some(server)) {
            Some(server) => Stop { reason: format!("{error}; {}", server.gone("its process has ended")), gone: true },
            None => Stop { reason: error.to_string(), gone: false },
        }
    }
}

const EMPTY: TurnRecord = TurnRecord {
    launch: 0,
    block: 0,
    second: false,
    resident: true,
    seconds: 0.0,
    input_tokens: None,
    output_tokens: 0,
    output_digest: None,
    characters: None,
    first_event_ms: None,
};

impl Seat {
    /// A batch at a rung of this process, from before it is handed over until its last result is in hand.
    pub fn turn(&mut self, rung: Rung, work: &Work, kind: TrialKind) -> Result<TurnRecord, Stop> {
        match self {
            Self::Server(seat) => {
                if let Some(server) = &mut seat.server {
                    server.wake();
                }
                seat.turn(work)
            }
            Self::Cell(cell) => cell_turn(cell, rung, work, kind).map_err(|error| match error {
                CellError::Died(death) => {
                    let last =
                        death.last_lines.last().map(|line| format!(" (its last line: {line})")).unwrap_or_default();
                    Stop { reason: format!("the cell died: {}{last}", death.reason), gone: true }
                }
                error => Stop { reason: error.to_string(), gone: false },
            }),
        }
    }

    /// Keeps it from taking time from others until its next turn.
    pub fn park(&mut self) {
        match self {
            Self::Cell(cell) => cell.park(),
            Self::Server(seat) => {
                if let Some(server) = &mut seat.server {
                    server.park();
                }
                // What was open may be closed by the time that it wakes.
                seat.client = None;
            }
        }
    }

    /// Ends it; says what did not go well.
    pub fn end(self) -> Option<String> {
        match self {
            Self::Cell(cell) => cell.shutdown().err().map(|error| format!("a cell did not end cleanly: {error}")),
            Self::Server(_) => None,
        }
    }
}

fn cell_turn(cell: &mut Cell, rung: Rung, work: &Work, kind: TrialKind) -> Result<TurnRecord, CellError> {
    if matches!(rung, Rung::TextIn | Rung::TextOut | Rung::ChildOut) {
        return text_turn(cell, rung, work);
    }
    let method = if rung == Rung::Steps { Method::Steps } else { Method::Generate };
    let spec = TrialSpec {
        trial: work.number,
        kind,
        method,
        load: Load::Offline { batch: work.spec.requests },
        device_clock: DeviceClockMode::Off,
        workload: work.spec.clone(),
    };
    // The ledger keeps whole turns; single tokens are what `tacho run` is for.
    let done = cell.trial(&spec, work.within, &mut Discard::new(|_| {}))?;
    Ok(TurnRecord {
        seconds: done.seconds(),
        input_tokens: Some(done.input_tokens),
        output_tokens: done.output_tokens,
        output_digest: Some(format!("{:016x}", done.output_digest)),
        ..EMPTY
    })
}

fn text_turn(cell: &mut Cell, rung: Rung, work: &Work) -> Result<TurnRecord, CellError> {
    let takes_text = rung != Rung::ChildOut || work.server_prompt == PromptKind::Text;
    if takes_text && work.texts.is_none() {
        return Err(EngineError::bad_request("this rung takes texts, and the prompts have none").into());
    }
    let spec = TextSpec {
        workload: work.spec.clone(),
        texts: work.texts.clone().filter(|_| takes_text),
        detokenise: rung != Rung::TextIn,
    };
    let done = cell.text(&spec, work.within)?;
    Ok(TurnRecord {
        seconds: done.end_ns.saturating_sub(done.start_ns) as f64 / 1e9,
        input_tokens: Some(done.input_tokens),
        output_tokens: done.output_tokens,
        output_digest: Some(format!("{:016x}", done.output_digest)),
        characters: spec.detokenise.then_some(done.characters),
        ..EMPTY
    })
}
