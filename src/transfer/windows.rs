//! Records of a folder, a few hundred at a time.

use crate::checkpoint::{FolderId, Ledger};
use crate::failure::Failure;
use crate::mail::{Record, Uid, UidValidity};

/// Records read from the ledger at once.
pub(super) const WINDOW: usize = 512;

/// Gives what comes in windows of so many, each with one at least.
pub(super) fn windows<T>(mut all: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || Some(Vec::from_iter(all.by_ref().take(WINDOW))).filter(|window| !window.is_empty()))
}

/// The records of a folder in UID order, window by window, so that a million of them take the memory of one window.
pub(super) struct Windows<'a> {
    ledger: &'a Ledger,
    folder: FolderId,
    validity: UidValidity,
    from: Option<Uid>,
}

impl<'a> Windows<'a> {
    pub(super) fn of(ledger: &'a Ledger, folder: FolderId, validity: UidValidity) -> Self {
        Self { ledger, folder, validity, from: Some(Uid::FIRST) }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, Failure> {
        let Some(first) = self.from else { return Ok(None) };
        let records = self.ledger.records(self.folder, self.validity, first, WINDOW).await?;
        self.from = match records.last() {
            Some(last) if records.len() == WINDOW => last.source_uid.value().checked_add(1).and_then(Uid::new),
            _ => None,
        };
        Ok(Some(records))
    }
}
