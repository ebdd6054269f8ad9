//! Changes of flags of messages that are on the target: carried out as planned, then taken for the new base.

use super::copy::Task;
use super::folder::{Pass, on_target};
use super::pool::Lease;
use crate::failure::Failure;
use crate::imap::{FlagChange, Target};
use crate::plan::FolderPlan;

impl Pass<'_> {
    pub(super) async fn change_flags(
        &self,
        task: &Task<'_>,
        plan: &FolderPlan,
        target: &mut Lease<Target>,
    ) -> Result<(), Failure> {
        let changes = &plan.flags;
        if changes.rebase.is_empty() {
            return Ok(());
        }
        if !changes.add.is_empty() || !changes.remove.is_empty() {
            target.session.select(task.target_name).await.map_err(on_target)?;
            let add = changes.add.iter().map(|(flags, uids)| (FlagChange::Add, flags, uids));
            let remove = changes.remove.iter().map(|(flags, uids)| (FlagChange::Remove, flags, uids));
            for (change, flags, uids) in add.chain(remove) {
                match target.session.store(uids, change, flags).await {
                    // A flag that is refused costs the flag: it enters the base, or every run would try it again.
                    Err(error) if error.is_refusal() => {}
                    other => other.map_err(on_target)?,
                }
            }
        }
        Ok(self.account.ledger.rebase(task.folder, task.source_validity, changes.rebase.clone()).await?)
    }
}
