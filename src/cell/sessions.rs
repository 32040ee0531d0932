//! Conversations inside a cell: which turn is handed over next, and when it was due.
//!
//! A turn is due when the one before it has ended and its time to think is over; the loop that drives the engine takes it
//! between two calls of the engine, as it takes arrivals. A conversation's first turn comes by the arrivals of an open load, or
//! in a closed one as soon as fewer than so many conversations are under way, those that think among them.
use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use super::{open::Feed, protocol::NONE};
use crate::workload::{Turns, Workload};

/// The conversations of a trial, for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFigures {
    /// How many.
    pub sessions: u32,
    /// Turns of the longest.
    pub most_turns: u32,
    /// Hash of the times to think; that of all prompts is the workload's.
    pub think_digest: String,
    /// The most prompt tokens that a prefix cache which forgets nothing can answer within the trial: what prompts share at their
    /// beginning with another one of the trial, and the outputs before each next turn, which it may happen to repeat.
    pub reusable_tokens: u64,
}

impl SessionFigures {
    /// Of the workload; None where its requests are single ones.
    pub(super) fn of(workload: &Workload) -> Option<Self> {
        let turns = workload.turns()?;
        let outputs = (0..workload.len()).filter(|request| turns.after(*request).is_some());
        let outputs: u64 = outputs.map(|request| u64::from(workload.lengths(request).1)).sum();
        Some(Self {
            sessions: turns.sessions(),
            most_turns: (0..turns.sessions()).map(|session| turns.requests(session).len() as u32).max().unwrap_or(0),
            think_digest: turns.digest(),
            reusable_tokens: workload.shared_prefix_tokens() + outputs,
        })
    }
}

/// The conversations under way.
pub(super) struct Sessions {
    turns: Turns,
    /// Next turns by when they are due, the soonest first.
    thinking: BinaryHeap<Reverse<(u64, u32)>>,
    due_ns: Vec<u64>,
    started: u32,
    ended: u32,
    /// Conversations under way at most, in a closed load.
    most: u32,
}

impl Sessions {
    /// With at most so many conversations under way; an open load has no such bound.
    pub(super) fn new(turns: Turns, most: u32) -> Self {
        let requests = turns.requests(turns.sessions() - 1).end;
        Self {
            thinking: BinaryHeap::with_capacity(turns.sessions() as usize),
            due_ns: vec![NONE; requests as usize],
            turns,
            started: 0,
            ended: 0,
            most,
        }
    }

    /// How many conversations have begun: the number of the next one.
    pub(super) fn started(&self) -> u32 {
        self.started
    }

    /// Whether no conversation is left to begin.
    pub(super) fn all_begun(&self) -> bool {
        self.started == self.turns.sessions()
    }

    /// How many turns are due in an open load and were not taken.
    pub(super) fn waiting(&self, feed: &Feed<'_>, now_ns: u64) -> u32 {
        let firsts = feed.released(now_ns).saturating_sub(self.started);
        // The soonest one tells of all when none is due.
        let later = if self.next_due_ns() <= now_ns { self.overdue(now_ns).count() as u32 } else { 0 };
        firsts + later
    }

    /// All requests that are due in an open load, `taken` ones among them.
    pub(super) fn due(&self, feed: &Feed<'_>, now_ns: u64, taken: impl Fn(u32) -> bool) -> Vec<u32> {
        let begun =
            (0..self.started).flat_map(|session| self.turns.requests(session)).filter(|request| taken(*request));
        let firsts = (self.started..feed.released(now_ns)).map(|session| self.turns.requests(session).start);
        begun.chain(self.overdue(now_ns)).chain(firsts).collect()
    }

    fn overdue(&self, now_ns: u64) -> impl Iterator<Item = u32> {
        self.thinking.iter().filter(move |Reverse((due_ns, _))| *due_ns <= now_ns).map(|Reverse((_, request))| *request)
    }

    /// A request's conversation and turn.
    pub(super) fn place(&self, request: u32) -> (u32, u32) {
        self.turns.place(request)
    }

    /// When a request was due; [`NONE`] as long as that is not known.
    pub(super) fn due_ns(&self, request: u32) -> u64 {
        self.due_ns[request as usize]
    }

    /// When the next turn is due of those whose time is known.
    pub(super) fn next_due_ns(&self) -> u64 {
        self.thinking.peek().map_or(NONE, |Reverse((due_ns, _))| *due_ns)
    }

    /// Takes the request that has been due the longest; None when none is.
    pub(super) fn take(&mut self, feed: Option<&Feed<'_>>, now_ns: u64) -> Option<u32> {
        let begins_ns = if self.started == self.turns.sessions() {
            None
        } else if let Some(feed) = feed {
            Some(feed.scheduled_ns(self.started)).filter(|_| feed.released(now_ns) > self.started)
        } else {
            Some(now_ns).filter(|_| self.started - self.ended < self.most)
        };
        let next_ns = Some(self.next_due_ns()).filter(|due_ns| *due_ns <= now_ns);
        match (next_ns, begins_ns) {
            (Some(due_ns), begins_ns) if begins_ns.is_none_or(|begins_ns| due_ns <= begins_ns) => {
                self.thinking.pop().map(|Reverse((_, request))| request)
            }
            (_, Some(begins_ns)) => {
                let first = self.turns.requests(self.started).start;
                self.due_ns[first as usize] = begins_ns;
                self.started += 1;
                Some(first)
            }
            (_, None) => None,
        }
    }

    /// A request has ended.
    pub(super) fn ended(&mut self, request: u32, time_ns: u64) {
        match self.turns.after(request) {
            Some((next, think_ns)) => {
                let due_ns = time_ns + think_ns;
                self.due_ns[next as usize] = due_ns;
                self.thinking.push(Reverse((due_ns, next)));
            }
            None => self.ended += 1,
        }
    }

    /// The first requests of the conversations that have begun.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.started).map(|session| (session, self.turns.requests(session).start))
    }
}
