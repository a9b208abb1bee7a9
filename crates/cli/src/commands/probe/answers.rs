//! What was found out: nothing of the account is in it.

use std::fmt;

use serde_json::{Value, json};

use crate::surroundings::now;

#[derive(Default)]
pub struct Answers(Vec<Answer>);

struct Answer {
    question: &'static str,
    /// For machines.
    name: &'static str,
    answer: &'static str,
    /// What was seen.
    seen: String,
}

impl Answers {
    /// Notes an answer: `name` is the question for machines.
    pub fn add(&mut self, name: &'static str, question: &'static str, answer: &'static str, seen: impl Into<String>) {
        self.0.push(Answer { question, name, answer, seen: seen.into() });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_json(&self, sent: u32, rejected: u32) -> Value {
        let answers = self.0.iter().map(|answer| {
            let Answer { question, name, answer, seen } = answer;
            json!({ "name": name, "question": question, "answer": answer, "seen": seen })
        });
        json!({
            "program": concat!("ibkr-oauth ", env!("CARGO_PKG_VERSION")),
            "time": now().to_string(),
            "requests": sent,
            "rejected": rejected,
            "answers": answers.collect::<Value>(),
        })
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, answer) in self.0.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{} {}. ({})", answer.question, answer.answer, answer.seen)?;
        }
        Ok(())
    }
}
