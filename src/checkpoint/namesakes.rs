//! One mailbox under several names of its host: what one account knows of it, told to another.
//!
//! Accounts are of the same mailbox where the source's user and the target mailbox are the same: an address in place of a
//! name, an alias, another port. What the copies of one of them stand for, the other may claim too.

use super::Ledger;
use super::accounts::FolderId;
use super::error::LedgerError;
use super::records::work_under;
use crate::mail::{Uid, UidValidity};
use rusqlite::params;

/// Says whether two names at a source are one user's: no case, and some servers take the name with and without its domain.
#[must_use]
pub fn same_user(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        let name = name.to_lowercase();
        name.split_once('@').map_or((name.clone(), None), |(local, domain)| (local.to_owned(), Some(domain.to_owned())))
    };
    let ((one, here), (other, there)) = (parts(one), parts(other));
    one == other && (here == there || here.is_none() || there.is_none())
}

impl Ledger {
    /// Gives the folders of other accounts that are this one under another name of its source's host, if their messages are
    /// the same, and that know of messages under this UIDVALIDITY of which this one knows nothing.
    pub async fn namesakes(&self, folder: FolderId, validity: UidValidity) -> Result<Vec<FolderId>, LedgerError> {
        const SQL: &str = "
            SELECT other.id, mine.source_user, theirs.source_user FROM folders AS this
            JOIN accounts AS mine ON mine.id = this.account
            JOIN accounts AS theirs ON theirs.id <> mine.id AND theirs.target_host = mine.target_host
                AND lower(theirs.target_user) = lower(mine.target_user)
            JOIN folders AS other
                ON other.account = theirs.id AND other.source = this.source AND other.target = this.target
            WHERE this.id = ?1 AND EXISTS (
                SELECT 1 FROM records AS r WHERE r.folder = other.id AND r.validity = ?2 AND NOT EXISTS (
                    SELECT 1 FROM records AS own WHERE own.folder = ?1 AND own.validity = ?2 AND own.uid = r.uid))
            ORDER BY other.id DESC";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let mut rows = select.query(params![folder.0, validity.value()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if same_user(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?) {
                    found.push(FolderId(row.get(0)?));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Takes over what another folder knows of these messages and this one does not; durable when it returns.
    pub async fn inherit(
        &self,
        folder: FolderId,
        from: FolderId,
        validity: UidValidity,
        uids: Vec<Uid>,
    ) -> Result<(), LedgerError> {
        const RECORD: &str = "
            INSERT OR IGNORE INTO records (folder, validity, uid, stage, evidence, target_validity, target_uid,
                floor_validity, floor_uid, size, digest, header, date, zone, flags, risky)
            SELECT ?1, validity, uid, stage, evidence, target_validity, target_uid, floor_validity, floor_uid, size,
                digest, header, date, zone, flags, risky
            FROM records WHERE folder = ?2 AND validity = ?3 AND uid = ?4";
        const TROUBLE: &str = "
            INSERT OR IGNORE INTO troubles (folder, validity, uid, kind, words, subject, date_header, size, at)
            SELECT ?1, validity, uid, kind, words, subject, date_header, size, at
            FROM troubles WHERE folder = ?2 AND validity = ?3 AND uid = ?4";
        const LOSSES: &str = "
            INSERT OR IGNORE INTO losses (folder, validity, uid, kind, text)
            SELECT ?1, validity, uid, kind, text FROM losses WHERE folder = ?2 AND validity = ?3 AND uid = ?4";
        const SURPLUS: &str = "
            INSERT OR IGNORE INTO surplus (folder, target_validity, target_uid, validity, uid, kind)
            SELECT ?1, target_validity, target_uid, validity, uid, kind FROM surplus WHERE folder = ?2";
        // Who looks for what comes late looks for all of it; the other does too, if it ever runs again.
        const SUSPECTS: &str = "
            INSERT INTO suspects (folder, validity, uid, floor_validity, floor_uid, size, digest, date, zone, flags, risky,
                since, looked)
            SELECT ?1, validity, uid, floor_validity, floor_uid, size, digest, date, zone, flags, risky, since, looked
            FROM suspects AS s WHERE s.folder = ?2 AND NOT EXISTS (SELECT 1 FROM suspects AS own
                WHERE own.folder = ?1 AND own.validity = s.validity AND own.uid = s.uid AND own.since = s.since)";
        self.write(move |connection| {
            work_under(connection, folder, validity)?;
            for uid in &uids {
                let message = params![folder.0, from.0, validity.value(), uid.value()];
                if connection.prepare_cached(RECORD)?.execute(message)? > 0 {
                    connection.prepare_cached(TROUBLE)?.execute(message)?;
                    connection.prepare_cached(LOSSES)?.execute(message)?;
                }
            }
            connection.prepare_cached(SURPLUS)?.execute(params![folder.0, from.0])?;
            connection.prepare_cached(SUSPECTS)?.execute(params![folder.0, from.0])?;
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Gives the source folders, of all accounts, that go into the target folder that this one goes into, with itself. With
    /// `others` only those that are another's: neither this one nor the same mailbox under another name.
    pub(super) async fn siblings(&self, folder: FolderId, others: bool) -> Result<Vec<FolderId>, LedgerError> {
        const SQL: &str = "
            SELECT other.id, other.source = this.source, mine.source_user, theirs.source_user FROM folders AS this
            JOIN accounts AS mine ON mine.id = this.account
            JOIN accounts AS theirs
                ON theirs.target_host = mine.target_host AND lower(theirs.target_user) = lower(mine.target_user)
            JOIN folders AS other ON other.account = theirs.id AND other.target = this.target
            WHERE this.id = ?1";
        self.read_written(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let mut rows = select.query([folder.0])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let same = row.get::<_, bool>(1)? && same_user(&row.get::<_, String>(2)?, &row.get::<_, String>(3)?);
                if !(others && same) {
                    found.push(FolderId(row.get(0)?));
                }
            }
            Ok(found)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::same_user;

    #[test]
    fn a_user_is_the_same_in_any_case_and_without_a_domain() {
        for (one, other, same) in [
            ("info@acme.example", "INFO@acme.example", true),
            ("info", "info@acme.example", true),
            ("info@acme.example", "info@other.example", false),
            ("info", "office", false),
        ] {
            assert_eq!((same_user(one, other), same_user(other, one)), (same, same), "{one}, {other}");
        }
    }
}
