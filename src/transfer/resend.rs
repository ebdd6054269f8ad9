//! Copies that have fewer bytes than were sent: one that is a mere beginning was cut off, and is sent once more; any other
//! was altered by the target, and is told as such.

use super::bytes::beginnings;
use super::copy::{self, Task};
use super::prove::Short;
use crate::checkpoint::{LossKind, Surplus, SurplusKind};
use crate::failure::Failure;
use crate::mail::{Digest, Evidence, Side, Uid, WireName};
use std::collections::{BTreeMap, BTreeSet};

/// Compares these copies with the beginnings of what the source gives. Those that were cut off are without a copy from now
/// on, and what is there of them is listed as a remnant; the evidence of the others says that they were altered.
pub(super) async fn resend(task: &Task<'_>, source_name: &WireName, short: Vec<Short>) -> Result<(), Failure> {
    let account = task.account;
    let mut source = account.source.take().await?;
    let opened = source.session.examine(source_name).await.map_err(|error| error.failure(Side::Source))?;
    let mut wanted: Vec<(Uid, u64)> = short.iter().map(|one| (one.source_uid, one.size)).collect();
    // Numbered anew in this moment: the next pass begins with that.
    wanted.retain(|_| opened.state.uid_validity == Some(task.source_validity));
    let lengths: BTreeMap<Uid, BTreeSet<u64>> =
        short.iter().map(|one| (one.source_uid, BTreeSet::from([one.copied.0]))).collect();
    let none = BTreeSet::new();
    let of = |uid| lengths.get(&uid).unwrap_or(&none);
    let beginnings = beginnings(account, &mut source.session, &account.source.brake, &wanted, of).await?;
    let beginnings: BTreeMap<Uid, BTreeMap<u64, Digest>> = beginnings.into_iter().collect();
    account.source.keep(source);
    let (mut cut, mut altered) = (Vec::new(), Vec::new());
    for Short { source_uid, target, size, copied: (length, digest) } in short {
        if beginnings.get(&source_uid).and_then(|known| known.get(&length)) == Some(&digest) {
            let source = (task.source_validity, source_uid);
            cut.push(Surplus { target, source, kind: SurplusKind::Remnant });
        } else {
            altered.push((source_uid, Evidence::BytesAltered));
            let what = format!("the target stored other bytes than were sent: {length} of {size}");
            copy::note_change(task, source_uid, LossKind::Bytes, what).await?;
        }
    }
    for surplus in &cut {
        account.tell_surplus(task.path, surplus, false).await;
    }
    account.ledger.prove(task.folder, task.source_validity, altered).await?;
    Ok(account.ledger.cut_off(task.folder, cut).await?)
}
