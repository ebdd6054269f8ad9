//! How much a user may ask before the server wants to be left alone.
//!
//! Secret: the counting, which is by user over all connections, as providers do it. While a user is to rest, every command is
//! answered with the same words and nothing is done; whoever asks on in that time has not listened.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a user may ask.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Commands that are carried out before a rest.
    pub commands: u64,
    /// Of these, so many at the end are answered with `[THROTTLED]` behind their OK, as Gmail does.
    pub warnings: u64,
    /// How long a rest lasts; then all begins anew.
    pub rest: Duration,
    /// Status and text in a rest; `{}` stands for what is left of it, in milliseconds.
    pub text: String,
}

/// What was on its way when a rest began comes within this time.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What is to become of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    /// Its OK warns.
    Warned,
    Refused(String),
}

#[derive(Debug, Default)]
pub(crate) struct Budgets {
    users: Mutex<HashMap<String, User>>,
}

#[derive(Debug, Default)]
struct User {
    spent: u64,
    until: Option<Instant>,
    rests: u64,
    impatient: u64,
}

impl Budgets {
    pub(crate) fn ask(&self, user: &str, budget: &Budget) -> Verdict {
        let now = Instant::now();
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let user = users.entry(user.to_owned()).or_default();
        if user.until.is_some_and(|until| until <= now) {
            (user.until, user.spent) = (None, 0);
        }
        if user.until.is_none() && user.spent >= budget.commands {
            user.until = Some(now + budget.rest);
            user.rests += 1;
        }
        let Some(until) = user.until else {
            user.spent += 1;
            let warned = user.spent + budget.warnings > budget.commands;
            return if warned { Verdict::Warned } else { Verdict::Granted };
        };
        let left = until - now;
        user.impatient += u64::from(left + UNDER_WAY < budget.rest);
        // Rounded up: whoever waits that long has waited long enough.
        Verdict::Refused(budget.text.replace("{}", &(left.as_millis() + 1).to_string()))
    }

    pub(crate) fn told(&self) -> (u64, u64) {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.values().fold((0, 0), |(rests, late), user| (rests + user.rests, late + user.impatient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_is_warned_then_refused_until_it_has_rested() {
        let (budgets, rest) = (Budgets::default(), Duration::from_secs(10));
        let budget = Budget { commands: 3, warnings: 1, rest, text: "BAD {} left".to_owned() };
        let ask = || budgets.ask("u", &budget);
        assert_eq!([ask(), ask(), ask()], [Verdict::Granted, Verdict::Granted, Verdict::Warned]);
        assert_eq!(ask(), Verdict::Refused("BAD 10001 left".to_owned()));
        assert_eq!(budgets.ask("another", &budget), Verdict::Granted);
        tokio::time::advance(UNDER_WAY).await;
        assert_eq!(ask(), Verdict::Refused("BAD 9001 left".to_owned()));
        assert_eq!(budgets.told(), (1, 0), "that was on its way");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask(), Verdict::Refused("BAD 8001 left".to_owned()));
        assert_eq!(budgets.told(), (1, 1), "that was not waited for");
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(ask(), Verdict::Granted);
    }
}
