//! Random histories of one node against a model of a machine: whatever fails, is late or is asked
//! for in between, the rules of the lifecycle hold, and a node that is left alone on working
//! hardware comes to rest.

mod absences;
mod model;
mod panics;
mod rules;
mod standby;
mod verbs;
