//! Whether the file says what was written into it.
//!
//! SQLite notices a page that is no page; a byte that flipped inside a row, or a page that is an older one, it takes for
//! data. So each table has a sum over all values of all its rows, and the schema has one too. Triggers keep the sums, in
//! the transaction that changes the rows: no writer has to think of them, and no writer can forget them; the one that writes
//! much has a [`Tally`], and its sums are written once a transaction. A sum is the exclusive or of one number per row, so it
//! does not depend on their order, and a change costs two rows, not the table.
//!
//! Guards against accidents, not against people: who can write the file can write the sums.

use super::error::Fault;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name under which the sum over the schema is kept; no table can have it.
const SCHEMA: &str = "sqlite_schema";

/// Innocuous: a schema that is not trusted may call it.
const FUNCTION: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_INNOCUOUS);

/// By how much the sums of tables change in the transaction that is under way, by table.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<String, i64>>>);

impl Tally {
    /// Takes what the triggers of this connection tell. From now on each of its transactions ends with [`Self::write`].
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let tally = Self::default();
        let told = tally.clone();
        connection.create_scalar_function("note_sum", 2, FUNCTION, move |context| {
            let (table, number) = (context.get_raw(0).as_str()?, context.get::<i64>(1)?);
            let mut sums = told.lock();
            match sums.get_mut(table) {
                Some(sum) => *sum ^= number,
                None => drop(sums.insert(table.to_owned(), number)),
            }
            Ok(true)
        })?;
        Ok(tally)
    }

    /// Gives how it stands, to go back to where a part of the transaction is undone.
    pub(super) fn now(&self) -> BTreeMap<String, i64> {
        self.lock().clone()
    }

    /// Goes back to how it stood.
    pub(super) fn set(&self, then: BTreeMap<String, i64>) {
        *self.lock() = then;
    }

    /// Begins anew.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Changes the sums, at the end of the transaction.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sums = std::mem::take(&mut *self.lock());
        for (table, sum) in sums {
            connection
                .prepare_cached("UPDATE sums SET sum = fold_sum(sum, ?2) WHERE name = ?1")?
                .execute((table, sum))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the functions known that the triggers call. Every connection that writes needs them.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FUNCTION | FunctionFlags::SQLITE_DETERMINISTIC;
    // Nobody takes it: the trigger changes the sum itself.
    connection.create_scalar_function("note_sum", 2, FUNCTION, |_| Ok(false))?;
    connection.create_scalar_function("row_sum", -1, flags, |context| {
        Ok((0..context.len()).fold(RowSum::default(), |sum, at| sum.with(context.get_raw(at))).number())
    })?;
    connection
        .create_scalar_function("fold_sum", 2, flags, |context| Ok(context.get::<i64>(0)? ^ context.get::<i64>(1)?))
}

/// Sets the sums of all tables and the triggers that keep them: after the schema has changed. Nothing to do in a format
/// without sums.
pub(super) fn install(connection: &Connection) -> rusqlite::Result<()> {
    if !has_sums(connection)? {
        return Ok(());
    }
    register(connection)?;
    for trigger in
        names(connection, "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'sum\\_%' ESCAPE '\\'")?
    {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}"))?;
    }
    connection.execute("DELETE FROM sums", [])?;
    for table in tables(connection)? {
        connection.execute("INSERT INTO sums (name, sum) VALUES (?1, ?2)", (&table, sum_of(connection, &table)?))?;
        connection.execute_batch(&triggers(connection, &table)?)?;
    }
    connection.execute("INSERT INTO sums (name, sum) VALUES (?1, ?2)", (SCHEMA, sum_of_schema(connection)?))?;
    Ok(())
}

/// Reads the whole file; gives what is wrong with it, None where nothing is.
///
/// SQLite's own check sees that every page is one and that each index has what its table has; the sums see that the
/// tables have what was written.
pub(super) fn complaint(connection: &Connection) -> Result<Option<String>, Fault> {
    let snapshot = connection.unchecked_transaction()?;
    let verdict: String = snapshot.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Some(verdict));
    }
    compare(&snapshot, |_| true)
}

/// As [`complaint`], of the tables that have a row for each account or folder, or for what is odd, not for each message:
/// milliseconds, however large the file is.
pub(super) fn complaint_of_small(connection: &Connection) -> Result<Option<String>, Fault> {
    const LARGE: [&str; 3] = ["records", "troubles", "losses"];
    let snapshot = connection.unchecked_transaction()?;
    compare(&snapshot, |table| !LARGE.contains(&table))
}

fn compare(snapshot: &Connection, compared: impl Fn(&str) -> bool) -> Result<Option<String>, Fault> {
    if !has_sums(snapshot)? {
        return Ok(None);
    }
    if kept(snapshot, SCHEMA)? != Some(sum_of_schema(snapshot)?) {
        return Ok(Some("its tables are not what they were".to_owned()));
    }
    for table in tables(snapshot)?.into_iter().filter(|table| compared(table)) {
        if !is_sound(snapshot, &table)? {
            return Ok(Some(format!("what stands in its table {table} is not what was written")));
        }
    }
    Ok(None)
}

/// Says whether a table holds what was written into it.
pub(super) fn is_sound(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    Ok(kept(connection, table)? == Some(sum_of(connection, table)?))
}

fn has_sums(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'sums'", [], |row| row.get(0))
}

fn kept(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT sum FROM sums WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Gives our tables but for the one that holds the sums.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    names(
        connection,
        "SELECT name FROM sqlite_schema
         WHERE type = 'table' AND name <> 'sums' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
}

fn sum_of(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
    sum_over(connection, &format!("SELECT * FROM {table}"))
}

/// Without the numbers of root pages: a backup has others.
fn sum_of_schema(connection: &Connection) -> rusqlite::Result<i64> {
    sum_over(connection, "SELECT type, name, tbl_name, sql FROM sqlite_schema")
}

fn sum_over(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    let mut select = connection.prepare(sql)?;
    let columns = select.column_count();
    let mut rows = select.query([])?;
    let mut sum = 0;
    while let Some(row) = rows.next()? {
        let mut of_row = RowSum::default();
        for column in 0..columns {
            of_row = of_row.with(row.get_ref(column)?);
        }
        sum ^= of_row.number();
    }
    Ok(sum)
}

fn triggers(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    let columns = names(connection, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"))?;
    let row = |which: &str| {
        let values: Vec<String> = columns.iter().map(|column| format!("{which}.{column}")).collect();
        format!("row_sum({})", values.join(", "))
    };
    let (old, new) = (row("old"), row("new"));
    let changes = BTreeMap::from([
        ("insert", new.clone()),
        ("delete", old.clone()),
        ("update", format!("fold_sum({old}, {new})")),
    ]);
    let trigger = |(change, number): (&&str, &String)| {
        format!(
            "CREATE TRIGGER sum_{change}_{table} AFTER {change} ON {table} WHEN NOT note_sum('{table}', {number}) BEGIN
                 UPDATE sums SET sum = fold_sum(sum, {number}) WHERE name = '{table}';
             END;"
        )
    };
    Ok(changes.iter().map(trigger).collect())
}

/// The number of one row: a product over its values, eight bytes at a time, each with its type and length, stirred at the end
/// so that rows that are nearly alike have numbers that are not.
#[derive(Clone, Copy)]
struct RowSum(u64);

impl Default for RowSum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl RowSum {
    fn with(self, value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => self.bytes(&[0]),
            ValueRef::Integer(number) => self.bytes(&[1]).bytes(&number.to_le_bytes()),
            ValueRef::Real(number) => self.bytes(&[2]).bytes(&number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => self.bytes(&[3]).bytes(&text.len().to_le_bytes()).bytes(text),
            ValueRef::Blob(bytes) => self.bytes(&[4]).bytes(&bytes.len().to_le_bytes()).bytes(bytes),
        }
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let stir = |hash: u64, word: u64| {
            let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^ (hash >> 32)
        };
        let (words, rest) = bytes.as_chunks::<8>();
        let hash = words.iter().fold(self.0, |hash, word| stir(hash, u64::from_le_bytes(*word)));
        Self(rest.iter().fold(hash, |hash, byte| stir(hash, u64::from(*byte))))
    }

    fn number(self) -> i64 {
        let mut hash = self.0;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        (hash ^ (hash >> 33)).cast_signed()
    }
}
