//! A conversation as the requests of its turns.
//!
//! Each answered turn of a user is a request: the conversation up to it, with the *data's* answers to the turns before, so that
//! every prompt is known, and hashed, before the run and is the same for every engine. What the engine itself has answered
//! is not in it: an answer of the engine's own would make each engine's, and each run's, prompts others.
use super::samples::{Prompt, Sample, Unusable, unusable};

/// The requests of a conversation, in order, `most` of them at most.
///
/// # Errors
/// [`Unusable`] where no turn of a user is followed by an answer.
pub(super) fn split(conversation: &Sample, most: u32) -> Result<Vec<Sample>, Unusable> {
    let Prompt::Messages(messages) = &conversation.prompt else {
        return Err(unusable("no conversation", "it is a single prompt"));
    };
    let answered = messages.windows(2).enumerate().filter(|(_, pair)| {
        pair[0].role == "user" && pair[1].role == "assistant" && !pair[0].content.trim().is_empty()
    });
    let turns: Vec<Sample> = answered
        .take(most as usize)
        .map(|(at, pair)| Sample {
            place: conversation.place.clone(),
            id: None,
            prompt: Prompt::Messages(messages[..=at].to_vec()),
            reply: Some(pair[1].content.clone()).filter(|reply| !reply.is_empty()),
            output_tokens: None,
        })
        .collect();
    if turns.is_empty() {
        return Err(unusable("no answered turn", "no turn of a user (human) is followed by an answer"));
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::{super::Message, *};

    fn conversation(turns: &[(&str, &str)]) -> Sample {
        let messages =
            turns.iter().map(|(role, content)| Message { role: (*role).to_owned(), content: (*content).to_owned() });
        let prompt = Prompt::Messages(messages.collect());
        Sample { place: "x:1".to_owned(), id: None, prompt, reply: None, output_tokens: None }
    }

    #[test]
    fn each_answered_turn_is_asked_with_the_data_s_answers_before_it() {
        let whole = conversation(&[
            ("system", "s"),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
            ("assistant", "d"),
            ("user", "never answered"),
        ]);
        let turns = split(&whole, u32::MAX).unwrap();
        let asked: Vec<usize> = turns
            .iter()
            .map(|turn| match &turn.prompt {
                Prompt::Messages(messages) => messages.len(),
                Prompt::Text(_) => 0,
            })
            .collect();
        let replies: Vec<_> = turns.iter().map(|turn| turn.reply.as_deref()).collect();
        assert_eq!((asked, replies), (vec![2, 4], vec![Some("b"), Some("d")]));
        assert_eq!(split(&whole, 1).unwrap().len(), 1);
        assert_eq!(split(&conversation(&[("assistant", "b"), ("user", "a")]), 9).unwrap_err().why, "no answered turn");
    }
}
