//! A dataset to a saved workload: read, checked, drawn, tokenised, filtered.
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::RngExt;
use serde_json::json;

use super::{
    DatasetError, Message, Tokens,
    locate::{context_of, files},
    prefix, records,
    samples::{self, Prompt, Sample, Unusable},
    sonnet,
    spec::{Bad, ChatTemplate, DatasetSpec, Filter, Kind},
    turns,
};
use crate::{
    model::FetchNews,
    workload::{saved::Saved, synthetic::rng_for},
};

/// Samples tokenised at a time: enough for all cores, few enough to stop soon.
const CHUNK: usize = 256;
const SHUFFLE: u64 = 0x4441_5441_5345_5400;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The dataset.
    pub spec: &'a DatasetSpec,
    /// The model whose tokenizer is taken unless the dataset names one.
    pub model: Option<&'a Path>,
    /// Chooses the requests.
    pub seed: u64,
    /// How many, conversations where turns are asked for; None for all.
    pub requests: Option<u32>,
    /// The longest output that replaces the data's own; None to take those.
    pub output: Option<u32>,
    /// How long to wait for the hub's next byte.
    pub patience: Duration,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The requests.
    pub saved: Saved,
    /// What a person should know: how many records were left out, and why.
    pub notes: Vec<String>,
}

/// Makes the requests of a dataset.
///
/// # Errors
/// [`DatasetError`], with file and line where a record is to blame.
pub fn make(ask: Ask<'_>, news: &mut dyn FnMut(FetchNews)) -> Result<Made, DatasetError> {
    let spec = ask.spec;
    let path = spec.path.as_deref().map(Path::new);
    if let (Kind::Saved, Some(path)) = (spec.kind, path) {
        let saved = Saved::read(path).map_err(|error| DatasetError::input(error.to_string()))?;
        return Ok(Made { saved, notes: Vec::new() });
    }
    let tokens = Tokens::find(ask.model, spec.tokenizer.as_deref(), &spec.chat_template)?;
    let count = || ask.requests.ok_or_else(|| DatasetError::input(format!("{spec}: say how many: --requests N")));
    let mut source = json!({
        "dataset": spec,
        "seed": ask.seed,
        "tokenizer": tokens.file,
        "tokenizer_digest": tokens.digest,
        "chat_template_digest": tokens.template_digest(),
        "made_by": format!("tacho {}", env!("CARGO_PKG_VERSION")),
    });
    let (requests, turns, notes) = match (spec.kind, path) {
        (Kind::PrefixRepetition, _) => {
            let made = prefix::prompts(&tokens.ordinary(), spec.prefix, count()?, ask.seed);
            (made.map(no_outputs)?, Vec::new(), Vec::new())
        }
        (Kind::Sonnet, Some(path)) => {
            let bytes = read(path)?;
            source["files"] = json!([path]);
            source["files_digest"] = blake3::hash(&bytes).to_hex().to_string().into();
            let text = records::text(path, &bytes)?;
            let made = sonnet::prompts(path, text, &tokens, spec.sonnet, count()?, ask.seed);
            (made.map(no_outputs)?, Vec::new(), Vec::new())
        }
        _ => {
            let found = Found::read(ask, news)?;
            source["files"] = json!(found.files);
            source["files_digest"] = found.digest.clone();
            source["records"] = found.samples.len().into();
            let drawn = draw(ask, &tokens, found)?;
            source["left_out"] = json!(drawn.left_out);
            let notes = drawn.left_out.iter().map(|(why, count)| format!("{spec}: {count} records left out: {why}"));
            let notes = notes.collect();
            (drawn.requests, drawn.turns, notes)
        }
    };
    let saved = Saved::new(&requests, source);
    let saved = if turns.is_empty() { saved } else { saved.and_then(|saved| saved.with_turns(turns)) };
    let saved = saved.map_err(|why| DatasetError::input(format!("{spec}: {why}")))?;
    Ok(Made { saved, notes })
}

type Requests = Vec<(Vec<u32>, Option<u32>)>;

fn no_outputs(prompts: Vec<Vec<u32>>) -> Requests {
    prompts.into_iter().map(|prompt| (prompt, None)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, DatasetError> {
    fs::read(path)
        .map_err(|error| DatasetError::Storage(format!("the dataset {} cannot be read: {error}", path.display())))
}

type LeftOut = BTreeMap<String, u64>;

/// A record that cannot be used: an error, or counted.
fn bad(spec: &DatasetSpec, left_out: &mut LeftOut, place: &str, unusable: &Unusable) -> Result<(), DatasetError> {
    if spec.bad == Bad::Skip {
        *left_out.entry(unusable.why.to_owned()).or_default() += 1;
        return Ok(());
    }
    Err(DatasetError::input(format!(
        "{place}: {}; correct the record, or leave such ones out by --dataset-bad skip",
        unusable.problem
    )))
}

/// All records that can be used.
struct Found {
    samples: Vec<Sample>,
    left_out: LeftOut,
    files: Vec<PathBuf>,
    /// BLAKE3 of the files, one after the other.
    digest: serde_json::Value,
}

impl Found {
    fn read(ask: Ask<'_>, news: &mut dyn FnMut(FetchNews)) -> Result<Self, DatasetError> {
        let spec = ask.spec;
        let (mut samples, mut left_out, mut hasher) = (Vec::new(), LeftOut::new(), blake3::Hasher::new());
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut format = None;
        let files = files(spec, ask.patience, news)?;
        for file in &files {
            let bytes = read(file)?;
            hasher.update(&bytes);
            records::read(file, &bytes, &mut |record| {
                let format = match format {
                    Some(format) => format,
                    None => *format.insert(samples::format(spec, &record).map_err(DatasetError::Input)?),
                };
                let place = record.place.clone();
                let sample = match samples::sample(record, format, &spec.columns, spec.turns.is_some()) {
                    Ok(sample) => sample,
                    Err(unusable) => return bad(spec, &mut left_out, &place, &unusable),
                };
                if let Some(id) = &sample.id
                    && let Some(first) = seen.insert(id.clone(), place.clone())
                {
                    let problem = format!("its id '{id}' is that of {first} too");
                    return bad(spec, &mut left_out, &place, &Unusable { why: "duplicate id", problem });
                }
                samples.push(sample);
                Ok(())
            })?;
        }
        if samples.is_empty() {
            let why = format!("{spec}: expected records, found none that can be used{}", counts(&left_out));
            return Err(DatasetError::input(why));
        }
        Ok(Self { samples, left_out, files, digest: hasher.finalize().to_hex().to_string().into() })
    }
}

fn counts(left_out: &LeftOut) -> String {
    let parts: Vec<String> = left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
    if parts.is_empty() { String::new() } else { format!("; left out: {}", parts.join(", ")) }
}

struct Drawn {
    requests: Requests,
    /// How many turns each conversation has; empty where records are single requests.
    turns: Vec<u32>,
    left_out: LeftOut,
}

/// Takes samples in the order of the seed, or of the file, until there are enough that pass.
fn draw(ask: Ask<'_>, tokens: &Tokens, found: Found) -> Result<Drawn, DatasetError> {
    let Ask { spec, requests: wanted, .. } = ask;
    let Found { samples, left_out, .. } = found;
    let context = ask.model.and_then(context_of);
    let mut order: Vec<usize> = (0..samples.len()).collect();
    if spec.order != crate::workload::saved::Order::File {
        let mut rng = rng_for(&[ask.seed, SHUFFLE]);
        for place in (1..order.len()).rev() {
            order.swap(place, rng.random_range(0..=place));
        }
    }
    let mut drawn = Drawn { requests: Requests::new(), turns: Vec::new(), left_out };
    let enough = wanted.map_or(usize::MAX, |wanted| wanted as usize);
    for chunk in order.chunks(CHUNK) {
        let chosen: Vec<&Sample> = chunk.iter().map(|index| &samples[*index]).collect();
        match spec.turns {
            None => drawn.singles(ask, tokens, context, &chosen, enough)?,
            Some(most) => drawn.conversations(ask, tokens, context, &chosen, enough, most)?,
        }
        if drawn.units(spec) == enough {
            break;
        }
    }
    let units = drawn.units(spec);
    match wanted.filter(|wanted| units < *wanted as usize) {
        Some(wanted) => Err(DatasetError::input(format!(
            "{spec}: {wanted} requests are asked for, {units} of {} records can be used{}: ask for fewer by --requests, or widen \
             --dataset-filter (requests are not repeated: a prefix cache would answer them)",
            samples.len(),
            counts(&drawn.left_out)
        ))),
        None if units == 0 => Err(DatasetError::input(format!("{spec}: no record passes{}", counts(&drawn.left_out)))),
        None => Ok(drawn),
    }
}

impl Drawn {
    /// What `--requests` counts.
    fn units(&self, spec: &DatasetSpec) -> usize {
        if spec.turns.is_some() { self.turns.len() } else { self.requests.len() }
    }

    fn singles(
        &mut self,
        ask: Ask<'_>,
        tokens: &Tokens,
        context: Option<u32>,
        chosen: &[&Sample],
        enough: usize,
    ) -> Result<(), DatasetError> {
        for (sample, encoded) in chosen.iter().zip(encode(ask.spec, tokens, chosen)?) {
            if self.requests.len() == enough {
                break;
            }
            match encoded.and_then(|(prompt, output)| check(ask, context, prompt, output)) {
                Ok(Ok(request)) => self.requests.push(request),
                Ok(Err(filtered)) => self.leave_out(filtered),
                Err(unusable) => bad(ask.spec, &mut self.left_out, &sample.place, &unusable)?,
            }
        }
        Ok(())
    }

    /// A conversation ends before its first turn that does not pass; one whose first turn does not is left out.
    fn conversations(
        &mut self,
        ask: Ask<'_>,
        tokens: &Tokens,
        context: Option<u32>,
        chosen: &[&Sample],
        enough: usize,
        most: u32,
    ) -> Result<(), DatasetError> {
        for conversation in chosen {
            if self.turns.len() == enough {
                break;
            }
            let asked = match turns::split(conversation, most) {
                Ok(asked) => asked,
                Err(unusable) => {
                    bad(ask.spec, &mut self.left_out, &conversation.place, &unusable)?;
                    continue;
                }
            };
            let asked: Vec<&Sample> = asked.iter().collect();
            let mut passed = 0;
            for encoded in encode(ask.spec, tokens, &asked)? {
                match encoded.and_then(|(prompt, output)| check(ask, context, prompt, output)) {
                    Ok(Ok(request)) => self.requests.push(request),
                    Ok(Err(filtered)) => {
                        self.leave_out(if passed == 0 { filtered } else { "later turns that a filter leaves out" });
                        break;
                    }
                    Err(unusable) => {
                        bad(ask.spec, &mut self.left_out, &conversation.place, &unusable)?;
                        break;
                    }
                }
                passed += 1;
            }
            if passed > 0 {
                self.turns.push(passed);
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, why: &str) {
        *self.left_out.entry(why.to_owned()).or_default() += 1;
    }
}

type Encoded = (Vec<u32>, Option<u32>);

/// What a sample's ids are of.
#[derive(Clone, Copy)]
enum Source {
    /// Its text.
    Raw,
    /// The texts of a conversation, one below the other.
    Joined,
    /// A conversation through the chat template.
    Rendered,
}

/// Ids of each sample's prompt, and the output length that the data say.
fn encode(
    spec: &DatasetSpec,
    tokens: &Tokens,
    samples: &[&Sample],
) -> Result<Vec<Result<Encoded, Unusable>>, DatasetError> {
    let all = matches!(spec.chat_template, ChatTemplate::On | ChatTemplate::File(_));
    // Raw texts get what the tokenizer puts around every text; a template writes that itself.
    let (mut raw, mut joined, mut rendered) = (Vec::new(), Vec::new(), Vec::new());
    let mut texts: Vec<Result<(Source, usize), Unusable>> = Vec::new();
    for sample in samples {
        let messages = match &sample.prompt {
            Prompt::Messages(messages) if spec.turns.is_some() && spec.chat_template == ChatTemplate::Off => {
                let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                joined.push(said.join("\n"));
                texts.push(Ok((Source::Joined, joined.len() - 1)));
                continue;
            }
            Prompt::Messages(messages) => messages.clone(),
            Prompt::Text(text) if all => vec![Message { role: "user".to_owned(), content: text.clone() }],
            Prompt::Text(text) => {
                raw.push(text.as_str());
                texts.push(Ok((Source::Raw, raw.len() - 1)));
                continue;
            }
        };
        if tokens.template_digest().is_none() {
            let why = match spec.chat_template {
                ChatTemplate::Off => {
                    "a conversation of messages needs the chat template: leave out --chat-template off".into()
                }
                _ => tokens.render(&messages).err().unwrap_or_default(),
            };
            return Err(DatasetError::input(format!("{}: {why}", sample.place)));
        }
        texts.push(match tokens.render(&messages) {
            Ok(text) => {
                rendered.push(text);
                Ok((Source::Rendered, rendered.len() - 1))
            }
            Err(problem) => Err(Unusable { why: "refused by the chat template", problem }),
        });
    }
    let raw = tokens.encode(raw, true)?;
    let joined = tokens.encode(joined.iter().map(String::as_str).collect(), true)?;
    let rendered = tokens.encode(rendered.iter().map(String::as_str).collect(), false)?;
    let replies: Vec<&str> = samples.iter().map(|sample| sample.reply.as_deref().unwrap_or("")).collect();
    let replies = tokens.encode(replies, false)?;
    let outputs = samples.iter().zip(replies).map(|(sample, reply)| {
        let counted = u32::try_from(reply.len()).ok().filter(|length| *length > 0);
        sample.output_tokens.or(counted)
    });
    let ids = |(source, index): (Source, usize)| match source {
        Source::Raw => raw[index].clone(),
        Source::Joined => joined[index].clone(),
        Source::Rendered => rendered[index].clone(),
    };
    Ok(texts.into_iter().zip(outputs).map(|(text, output)| text.map(|text| (ids(text), output))).collect())
}

/// A request; inside, the name of the filter that it does not pass.
fn check(
    ask: Ask<'_>,
    context: Option<u32>,
    prompt: Vec<u32>,
    output: Option<u32>,
) -> Result<Result<Encoded, &'static str>, Unusable> {
    let unusable = |why, problem: String| Err(Unusable { why, problem });
    let input = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
    if input == 0 {
        return unusable("empty prompt", "its prompt has no token".to_owned());
    }
    let Some(length) = ask.output.or(output) else {
        let problem = "it has neither an answer nor an output length: give one for all by --output N";
        return unusable("no output length", problem.to_owned());
    };
    let total = input.saturating_add(length);
    let Filter { min_prompt_len, max_prompt_len, min_output_len, max_output_len, max_total_len } = ask.spec.filter;
    let below = |bound: Option<u32>, value: u32| bound.is_some_and(|bound| value < bound);
    let above = |bound: Option<u32>, value: u32| bound.is_some_and(|bound| value > bound);
    let own = ask.output.is_none();
    let filtered = [
        (below(min_prompt_len, input), "prompt below min-prompt-len"),
        (above(max_prompt_len, input), "prompt above max-prompt-len"),
        (own && below(min_output_len, length), "output below min-output-len"),
        (own && above(max_output_len, length), "output above max-output-len"),
        (above(max_total_len, total), "prompt and output above max-total-len"),
    ];
    if let Some((_, why)) = filtered.iter().find(|(out, _)| *out) {
        return Ok(Err(*why));
    }
    match context.filter(|context| total > *context) {
        Some(context) => unusable(
            "longer than the model's context",
            format!(
                "{input} tokens of prompt and {length} of output are more than the model's context of {context}: leave longer \
                 ones out by --dataset-filter max-total-len={context}"
            ),
        ),
        None => Ok(Ok((prompt, output))),
    }
}
