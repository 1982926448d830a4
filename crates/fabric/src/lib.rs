//! Placeholder until the first line of real code.
