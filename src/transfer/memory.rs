//! What a folder's passes learn, each for those after it.

use super::account::Account;
use super::copy::Dress;
use super::flags::Shown;
use super::otherwise::Refused;
use super::turns::Turn;
use crate::failure::{Failure, Kind};
use crate::mail::{Side, Uid, UidValidity, Uids};
use crate::plan::Attempt;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What is carried from one pass over a folder to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// Passes in a row that broke without getting anything done.
    pub(super) fruitless: u32,
    /// Passes in a row that broke and had found something at the most.
    pub(super) vain: u32,
    /// When the target's folder was made by this run; None: it was there.
    pub(super) created: Option<SystemTime>,
    /// Messages that were to be copied since.
    pub(super) turned: Uids,
    /// Of a target without lasting UIDs: everything was tried once, what is left to do is to look.
    pub(super) tried: bool,
    /// Passes that asked for a further one.
    pub(super) again: u32,
    /// Passes in a row in which the source called itself unavailable when it was asked for many messages.
    pub(super) held_up: u32,
    /// Messages that may be the reason, or that may be read in a while: how often each was asked for alone in vain.
    pub(super) put_off: BTreeMap<Uid, u32>,
    /// Why some are to be asked for again.
    pub(super) later: Option<Failure>,
    /// The source's UIDVALIDITY under which all this was learnt.
    pub(super) epoch: Option<UidValidity>,
    /// Both folders have been opened and listed.
    pub(super) opened: bool,
    /// The source was asked what has changed: whatever came of that, from then on it is listed whole.
    pub(super) delta_tried: bool,
    /// The target refused the folder for its name.
    pub(super) name_refused: bool,
    /// How often, and on which side, the connection broke while a message was under way alone.
    pub(super) strikes: BTreeMap<Uid, (u32, Side)>,
    /// The target has taken messages into this folder.
    pub(super) takes: bool,
    /// How often a message was refused alone in words that are said of a folder, and how many in a row were given up so.
    pub(super) accused: BTreeMap<Uid, u32>,
    pub(super) blamed: u32,
    /// Refused when the connection broke over it: tried before all others, to know what they have to go without.
    pub(super) refused: BTreeMap<Uid, Refused>,
    /// One connection on each side for all of the folder: once something broke off, or asked for.
    pub(super) single: bool,
    /// Messages in one command at the most: one, once the target has broken off.
    pub(super) together: usize,
    /// Some messages lack flags that they are to get yet.
    pub(super) short: bool,
    pub(super) shown: Shown,
    /// Its turn among the account's folders.
    pub(super) turn: Turn,
}

impl Memory {
    /// Waits for the folder's turn, unless it has it; gives how long.
    ///
    /// # Errors
    /// Somebody asks to stop.
    pub(super) async fn wait_for_turn(&mut self, account: &Account) -> Result<Duration, Failure> {
        let begun = Instant::now();
        tokio::select! {
            biased;
            () = account.stop.cancelled() => Err(Failure::new(None, Kind::Stopped, "go on: asked to stop")),
            () = account.turns.wait(&self.turn) => Ok(begun.elapsed()),
        }
    }

    /// For one message alone.
    pub(super) fn dress(&self, careful: bool, attempt: Attempt) -> Dress<'_> {
        Dress { careful, together: 1, keeping: &self.shown.keeping, attempt, last: false, lanes: false }
    }
}
