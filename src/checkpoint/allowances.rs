//! What was let go of a provider's daily allowances.
//!
//! Invariant: what [`Ledger::lease`] gave is on the disk when it returns, and all of a day together is never more than the
//! allowance, whichever process asks.

use super::Ledger;
use super::error::LedgerError;
use crate::mail::{Day, Side};
use rusqlite::{Connection, params};

const DAY_SECONDS: i64 = 24 * 3600;
/// Days are kept for so long: a clock that is set back finds them again.
const KEPT: i64 = 8 * DAY_SECONDS;

/// Whose allowance it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowanceOwner {
    /// What is fetched from a source, or appended to a target.
    pub side: Side,
    /// The server, as [`super::AccountKey`] writes it.
    pub host: String,
    /// Who signs in; None: all accounts on the host together.
    pub user: Option<String>,
}

impl AllowanceOwner {
    fn columns(&self) -> (&'static str, String, String) {
        let side = match self.side {
            Side::Source => "source",
            Side::Target => "target",
        };
        // No user's name is empty.
        (side, self.host.clone(), self.user.clone().unwrap_or_default())
    }
}

impl Ledger {
    /// Lets go of at most `wanted` bytes of a day, so that all of it together is at most `allowance`; 0 where that leaves
    /// less than `least`.
    pub async fn lease(
        &self,
        owner: &AllowanceOwner,
        day: Day,
        (least, wanted): (u64, u64),
        allowance: u64,
    ) -> Result<u64, LedgerError> {
        let (side, host, user) = owner.columns();
        let given = self.write(move |connection| {
            let left = allowance.saturating_sub(spent(connection, (side, &host, &user), day)?);
            let given = wanted.min(left);
            if given < least || given == 0 {
                return Ok(0);
            }
            let given = i64::try_from(given).unwrap_or(i64::MAX);
            connection.execute(
                "INSERT INTO allowances (side, host, user, day, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
                params![side, host, user, day.begins, given],
            )?;
            connection.execute("DELETE FROM allowances WHERE day < ?1", [day.begins - KEPT])?;
            Ok(given)
        });
        Ok(given.await?.unsigned_abs())
    }

    /// Takes back what was let go and not used. `day`: when it began.
    pub async fn give_back(&self, owner: &AllowanceOwner, day: i64, bytes: u64) -> Result<(), LedgerError> {
        let (side, host, user) = owner.columns();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.write(move |connection| {
            connection.execute(
                "UPDATE allowances SET bytes = MAX(0, bytes - ?5)
                 WHERE side = ?1 AND host = ?2 AND user = ?3 AND day = ?4",
                params![side, host, user, day, bytes],
            )?;
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Gives what was let go of a day.
    pub async fn spent(&self, owner: &AllowanceOwner, day: Day) -> Result<u64, LedgerError> {
        let (side, host, user) = owner.columns();
        self.read(move |connection| Ok(spent(connection, (side, &host, &user), day)?)).await
    }
}

/// Gives what was let go of a day and of all that overlap with it: where the job says now that it begins at another hour. The
/// day before does not, however long it is; of any other that began earlier only the begin is known, and it is taken for one
/// of 24 hours.
fn spent(connection: &Connection, (side, host, user): (&str, &str, &str), day: Day) -> rusqlite::Result<u64> {
    let sum: i64 = connection.query_row(
        "SELECT COALESCE(SUM(bytes), 0) FROM allowances
         WHERE side = ?1 AND host = ?2 AND user = ?3 AND day > ?4 AND day != ?5 AND day < ?6",
        params![side, host, user, day.begins - DAY_SECONDS, day.before, day.ends],
        |row| row.get(0),
    )?;
    Ok(sum.unsigned_abs())
}
