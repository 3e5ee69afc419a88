//! The part of `wasi_snapshot_preview1` that Envoy has: clocks, randomness, the environment, standard output.
//!
//! Nothing else is defined: a filter that imports more does not load here, as it would not load there.

use wasmtime::{Caller, Linker, Result};

use super::memory::Guest;
use super::world::World;

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;

pub fn define(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "environ_sizes_get", environ_sizes_get)?;
    linker.func_wrap(MODULE, "environ_get", environ_get)?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> {
        Err(wasmtime::Error::msg(format!(
            "the filter exited with {code}"
        )))
    })?;
    Ok(())
}

fn code(done: Result<(), u32>) -> i32 {
    done.map_or(FAULT, |()| SUCCESS)
}

fn clock_time_get(caller: Caller<'_, World>, clock: i32, _precision: i64, at: u32) -> i32 {
    let mut guest = Guest::new(caller);
    let nanos = match clock {
        0 => guest.world().unix_nanos(),
        1 => u64::try_from(guest.world().monotonic.as_nanos()).unwrap_or(u64::MAX),
        _ => return INVALID,
    };
    code(guest.write_u64(at, nanos))
}

/// Not random, and different each time: a test run can be repeated.
fn random_get(caller: Caller<'_, World>, at: u32, length: u32) -> i32 {
    let mut guest = Guest::new(caller);
    let seed = guest.world().unix_nanos() ^ u64::from(at);
    let bytes = (0..length).map(|n| {
        let mixed = (seed.wrapping_add(u64::from(n) + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.to_be_bytes()[0]
    });
    let bytes: Vec<u8> = bytes.collect();
    code(guest.write(at, &bytes))
}

fn environment(guest: &mut Guest<'_>) -> Vec<String> {
    guest
        .world()
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}\0"))
        .collect()
}

fn environ_sizes_get(caller: Caller<'_, World>, count_at: u32, size_at: u32) -> i32 {
    let mut guest = Guest::new(caller);
    let entries = environment(&mut guest);
    let size: usize = entries.iter().map(String::len).sum();
    let done = guest.write_u32(count_at, entries.len() as u32);
    code(done.and_then(|()| guest.write_u32(size_at, size as u32)))
}

fn environ_get(caller: Caller<'_, World>, mut pointers_at: u32, mut text_at: u32) -> i32 {
    let mut guest = Guest::new(caller);
    for entry in environment(&mut guest) {
        let done = guest.write_u32(pointers_at, text_at);
        if done
            .and_then(|()| guest.write(text_at, entry.as_bytes()))
            .is_err()
        {
            return FAULT;
        }
        pointers_at += 4;
        text_at += entry.len() as u32;
    }
    SUCCESS
}

/// Standard output and error end up in the log, as in Envoy.
fn fd_write(
    caller: Caller<'_, World>,
    file: i32,
    vectors_at: u32,
    count: u32,
    written_at: u32,
) -> i32 {
    if !(1..=2).contains(&file) {
        return BAD_FILE;
    }
    let mut guest = Guest::new(caller);
    let mut text = Vec::new();
    for n in 0..count {
        let Ok(vector) = guest.read(vectors_at + n * 8, 8) else {
            return FAULT;
        };
        let word = |at: usize| {
            u32::from_le_bytes([vector[at], vector[at + 1], vector[at + 2], vector[at + 3]])
        };
        let Ok(bytes) = guest.read(word(0), word(4)) else {
            return FAULT;
        };
        text.extend_from_slice(&bytes);
    }
    let written = text.len() as u32;
    let line = String::from_utf8_lossy(&text).trim_end().to_owned();
    guest
        .world()
        .log
        .push((if file == 2 { 4 } else { 2 }, line));
    code(guest.write_u32(written_at, written))
}
