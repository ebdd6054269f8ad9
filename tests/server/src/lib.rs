//! An IMAP server in the process.
