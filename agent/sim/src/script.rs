//! Walk-throughs as text.
