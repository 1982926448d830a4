//! Images from files, over HTTP and by upload, good ones and all the bad ones.

mod basics;
mod chunks;
mod formats;
mod interrupted;
mod support;
mod web;
