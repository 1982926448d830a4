//! Builds again when a migration is added: the compiler only sees the ones it knows already.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
