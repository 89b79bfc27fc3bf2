//! How an upstream behaves, in virtual time.
