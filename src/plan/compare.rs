//! Paired runs: which points of a plan are measured side by side, and how often.
use serde::{Deserialize, Serialize};

use super::{Point, scalar::fraction};

/// What stands beside what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Engines, or configurations of one: points that are equal but for these.
    Abba,
    /// Each engine configuration beside another cell of the same, which shows what differs when nothing does.
    Aa,
}

/// How a plan compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// What stands beside what.
    pub pairing: Pairing,
    /// How often every engine is started.
    pub launches: u32,
    /// Blocks a launch: in each, every engine has its turn twice.
    pub blocks: u32,
    /// Timed trials a turn.
    pub trials: u32,
    /// Differences below this fraction count as none.
    pub threshold: f64,
    /// Blocking differences between engines that somebody takes into account; see `fairness::judge`.
    #[serde(default)]
    pub allowed: Vec<String>,
}

/// One of the sides of a group: a point of the plan. In an A/A comparison one point has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// The point's number.
    pub point: u32,
    /// 0, or 1 for the second cell of the same configuration.
    pub copy: u32,
}

/// Points that are measured side by side, the first being what the others are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// At least two.
    pub arms: Vec<Arm>,
}

/// More engines at once would leave each too little of the machine.
const MOST_ARMS: usize = 6;
const EXPECTED: &str =
    "expected abba, aa or off, with what differs from abba,launches=5,blocks=6,trials=1,threshold=1%";

impl Compare {
    /// By default: enough to call engines with the noise of a quiet machine the same (docs/comparing.md).
    const DEFAULT: Self =
        Self { pairing: Pairing::Abba, launches: 5, blocks: 6, trials: 1, threshold: 0.01, allowed: Vec::new() };

    /// Reads `abba` or `aa`, with other settings after commas: `abba,launches=3,threshold=2%`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{EXPECTED}; found {what}");
        let mut words = text.split(',').map(str::trim);
        let mut found = Self::DEFAULT;
        found.pairing = match words.next() {
            Some("abba") => Pairing::Abba,
            Some("aa") => Pairing::Aa,
            other => return Err(wrong(&format!("'{}'", other.unwrap_or_default()))),
        };
        for word in words {
            let Some((name, value)) = word.split_once('=') else { return Err(wrong(&format!("'{word}'"))) };
            let count = || match value.trim().parse::<u32>() {
                Ok(count) if (1..=10_000).contains(&count) => Ok(count),
                _ => Err(wrong(&format!("{name} = '{value}', which is no whole number from 1 to 10000"))),
            };
            match name.trim() {
                "launches" => found.launches = count()?,
                "blocks" => found.blocks = count()?,
                "trials" => found.trials = count()?,
                "threshold" => found.threshold = fraction(value)?,
                "allow" => {
                    found.allowed = value.split('+').map(|field| field.trim().to_owned()).collect();
                    crate::fairness::check_allowed(&found.allowed)?;
                }
                _ => return Err(wrong(&format!("'{name}'"))),
            }
        }
        Ok(found)
    }

    /// The same, or `off`.
    ///
    /// # Errors
    /// As [`Compare::parse`].
    pub fn parse_or_off(text: &str) -> Result<Option<Self>, String> {
        if text.trim() == "off" { Ok(None) } else { Self::parse(text).map(Some) }
    }

    /// As [`Compare::parse`] reads it.
    pub fn text(&self) -> String {
        let allowed =
            if self.allowed.is_empty() { String::new() } else { format!(",allow={}", self.allowed.join("+")) };
        format!(
            "{},launches={},blocks={},trials={},threshold={}%{allowed}",
            if self.pairing == Pairing::Abba { "abba" } else { "aa" },
            self.launches,
            self.blocks,
            self.trials,
            (self.threshold * 1e8).round() / 1e6
        )
    }

    /// Timed trials of each point.
    pub fn timed_trials(&self) -> u32 {
        let copies = if self.pairing == Pairing::Aa { 2 } else { 1 };
        [self.blocks, self.trials, 2, copies].into_iter().fold(self.launches, u32::saturating_mul)
    }

    /// The groups of a plan's points.
    ///
    /// # Errors
    /// A sentence when points have nothing to stand beside, or too much.
    pub fn groups(&self, points: &[Point]) -> Result<Vec<Group>, String> {
        if self.pairing == Pairing::Aa {
            let twice = |point: &Point| [0, 1].map(|copy| Arm { point: point.number, copy }).to_vec();
            return Ok(points.iter().map(|point| Group { arms: twice(point) }).collect());
        }
        let mut groups: Vec<Group> = Vec::new();
        for point in points {
            let beside = |group: &&mut Group| same_work(&points[group.arms[0].point as usize], point);
            let arm = Arm { point: point.number, copy: 0 };
            match groups.iter_mut().find(beside) {
                Some(group) => group.arms.push(arm),
                None => groups.push(Group { arms: vec![arm] }),
            }
        }
        for group in &groups {
            let first = &points[group.arms[0].point as usize];
            if group.arms.len() == 1 {
                return Err(format!(
                    "{} has nothing to stand beside: expected two engines, or an engine option with two values, and \
                     otherwise equal points; abba compares those, aa an engine with itself",
                    first.label()
                ));
            }
            if group.arms.len() > MOST_ARMS {
                return Err(format!(
                    "{} and {} others would be measured side by side: expected at most {MOST_ARMS} together; make it \
                     several plans",
                    first.label(),
                    group.arms.len() - 1
                ));
            }
        }
        Ok(groups)
    }
}

/// Whether two points ask for the same work, by whatever engine. An engine may want the model in a form of its own, so that
/// its file does not tell; where a plan has several models, their names do.
fn same_work(one: &Point, other: &Point) -> bool {
    let axes = |point: &Point| -> Vec<(String, String)> {
        point.axes.iter().filter(|(name, _)| !name.starts_with("engine.")).cloned().collect()
    };
    one.load == other.load && one.workload == other.workload && axes(one) == axes(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    fn points(of: &[(&str, &[(&str, &str)])]) -> Vec<Point> {
        (0..).zip(of).map(|(number, (engine, axes))| testing::point(number, engine, axes).point).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let found = Compare::parse("abba, launches=3,threshold=2.5%").unwrap();
        assert_eq!((found.launches, found.blocks, found.threshold), (3, 6, 0.025));
        assert_eq!(Compare::parse(&found.text()).unwrap(), found);
        assert_eq!(Compare::parse("aa").unwrap().pairing, Pairing::Aa);
        for wrong in ["", "ab", "abba,launches", "abba,launches=0", "abba,threshold=2", "abba,runs=3"] {
            assert!(Compare::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_that_differ_in_the_engine_alone_stand_side_by_side() {
        let compare = Compare::DEFAULT;
        let both = [("sim", &[("batch", "1")][..]), ("sim", &[("batch", "2")]), ("vllm", &[("batch", "1")])];
        let mut all = points(&both);
        assert!(compare.groups(&all).unwrap_err().contains("nothing to stand beside"));
        all.extend(points(&[("vllm", &[("batch", "2")])]));
        all[3].number = 3;
        let groups: Vec<Vec<u32>> = compare
            .groups(&all)
            .unwrap()
            .iter()
            .map(|group| group.arms.iter().map(|arm| arm.point).collect())
            .collect();
        assert_eq!(groups, [[0, 2], [1, 3]]);
        let options = points(&[("sim", &[("engine.sim.jitter", "0")]), ("sim", &[("engine.sim.jitter", "1")])]);
        assert_eq!(compare.groups(&options).unwrap().len(), 1);
        let aa = Compare { pairing: Pairing::Aa, ..compare };
        assert_eq!(aa.groups(&options).unwrap()[1].arms, [Arm { point: 1, copy: 0 }, Arm { point: 1, copy: 1 }]);
    }
}
