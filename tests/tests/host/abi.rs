//! The `env.proxy_*` functions the filter calls (proxy-wasm ABI 0.2.1), each with a place for a fault.
//!
//! The SDK imports more with its traits (gRPC, queues); they trap if they are ever called.

use std::time::Duration;

use wasmtime::{Caller, Linker, Result};

use super::memory::Guest;
use super::status::{BAD_ARGUMENT, CAS_MISMATCH, NOT_FOUND, OK, Refusal};
use super::wire;
use super::world::{LocalResponse, World};

type Call<'a> = Caller<'a, World>;
type Done = std::result::Result<(), Refusal>;

/// Runs a host function unless a fault stands in its place.
fn play(
    name: &str,
    of_type: Option<u32>,
    call: Call<'_>,
    run: impl FnOnce(&mut Guest<'_>) -> Done,
) -> u32 {
    if let Some(status) = call.data().fault(name, of_type) {
        return status;
    }
    run(&mut Guest::new(call)).err().unwrap_or(OK)
}

pub fn define(linker: &mut Linker<World>) -> Result<()> {
    logging(linker)?;
    maps(linker)?;
    buffers(linker)?;
    values(linker)?;
    streams(linker)?;
    metrics(linker)
}

fn logging(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |call: Call<'_>, level: u32, at: u32, length: u32| {
            play("proxy_log", None, call, |guest| {
                let line = guest.read_text(at, length)?;
                guest.world().log.push((level, line));
                Ok(())
            })
        },
    )?;
    linker.func_wrap("env", "proxy_get_log_level", |call: Call<'_>, at: u32| {
        play("proxy_get_log_level", None, call, |guest| {
            guest.write_u32(at, 0)
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |call: Call<'_>, at: u32| {
            play("proxy_get_current_time_nanoseconds", None, call, |guest| {
                let now = guest.world().unix_nanos();
                guest.write_u64(at, now)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |call: Call<'_>, period: u32| {
            play("proxy_set_tick_period_milliseconds", None, call, |guest| {
                guest.world().tick_period =
                    (period > 0).then(|| Duration::from_millis(period.into()));
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn maps(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |call: Call<'_>, map: u32, at: u32, length_at: u32| {
            play("proxy_get_header_map_pairs", Some(map), call, |guest| {
                let bytes = wire::encode(guest.world().map(map)?);
                guest.give(&bytes, at, length_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |call: Call<'_>, map: u32, at: u32, length: u32| {
            play("proxy_set_header_map_pairs", Some(map), call, |guest| {
                let bytes = guest.read(at, length)?;
                *guest.world().map(map)? = wire::decode(&bytes).ok_or(BAD_ARGUMENT)?;
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |call: Call<'_>, map: u32, key: u32, key_length: u32, at: u32, length_at: u32| {
            play("proxy_get_header_map_value", Some(map), call, |guest| {
                let key = guest.read_text(key, key_length)?;
                let map = guest.world().map(map)?;
                let values = map
                    .iter()
                    .filter(|(name, _)| name.eq_ignore_ascii_case(&key));
                let values: Vec<&[u8]> = values.map(|(_, value)| value.as_slice()).collect();
                if values.is_empty() {
                    return Err(NOT_FOUND);
                }
                // Envoy joins the values of a header that comes more than once.
                let joined = values.join(b",".as_slice());
                guest.give(&joined, at, length_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |call: Call<'_>, map: u32, key: u32, length: u32| {
            play("proxy_remove_header_map_value", Some(map), call, |guest| {
                let key = guest.read_text(key, length)?;
                guest
                    .world()
                    .map(map)?
                    .retain(|(name, _)| !name.eq_ignore_ascii_case(&key));
                Ok(())
            })
        },
    )?;
    for (import, replace) in [
        ("proxy_replace_header_map_value", true),
        ("proxy_add_header_map_value", false),
    ] {
        let set =
            move |call: Call<'_>, map: u32, key: u32, key_length: u32, at: u32, length: u32| {
                play(import, Some(map), call, |guest| {
                    let key = guest.read_text(key, key_length)?.to_ascii_lowercase();
                    let value = guest.read(at, length)?;
                    let map = guest.world().map(map)?;
                    if replace {
                        map.retain(|(name, _)| !name.eq_ignore_ascii_case(&key));
                    }
                    map.push((key, value));
                    Ok(())
                })
            };
        linker.func_wrap("env", import, set)?;
    }
    Ok(())
}

fn buffers(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |call: Call<'_>, buffer: u32, start: u32, length: u32, at: u32, length_at: u32| {
            play("proxy_get_buffer_bytes", Some(buffer), call, |guest| {
                let bytes = guest.world().buffer(buffer)?;
                let start = (start as usize).min(bytes.len());
                let end = start.saturating_add(length as usize).min(bytes.len());
                let part = bytes[start..end].to_vec();
                guest.give(&part, at, length_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |call: Call<'_>, buffer: u32, start: u32, length: u32, at: u32, size: u32| {
            play("proxy_set_buffer_bytes", Some(buffer), call, |guest| {
                let new = guest.read(at, size)?;
                let bytes = guest.world().buffer(buffer)?;
                let start = (start as usize).min(bytes.len());
                let end = start.saturating_add(length as usize).min(bytes.len());
                bytes.splice(start..end, new);
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn values(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |call: Call<'_>, path: u32, path_length: u32, at: u32, length_at: u32| {
            play("proxy_get_property", None, call, |guest| {
                let path = guest.read_text(path, path_length)?.replace('\0', ".");
                let value = guest.world().property(&path)?;
                guest.give(&value, at, length_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |call: Call<'_>, path: u32, path_length: u32, at: u32, length: u32| {
            play("proxy_set_property", None, call, |guest| {
                let path = guest.read_text(path, path_length)?.replace('\0', ".");
                let value = guest.read(at, length)?;
                guest.world().properties.insert(path, value);
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |call: Call<'_>, key: u32, key_length: u32, at: u32, length_at: u32, cas_at: u32| {
            play("proxy_get_shared_data", None, call, |guest| {
                let key = guest.read(key, key_length)?;
                let (value, cas) = guest
                    .world()
                    .shared_data
                    .get(&key)
                    .cloned()
                    .ok_or(NOT_FOUND)?;
                guest.give(&value, at, length_at)?;
                guest.write_u32(cas_at, cas)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |call: Call<'_>, key: u32, key_length: u32, at: u32, length: u32, cas: u32| {
            play("proxy_set_shared_data", None, call, |guest| {
                let key = guest.read(key, key_length)?;
                let value = guest.read(at, length)?;
                let shared = &mut guest.world().shared_data;
                // As Envoy has it: a key that is not there is made, whatever the version.
                let current = shared.get(&key).map_or(0, |(_, cas)| *cas);
                if current != 0 && cas != 0 && cas != current {
                    return Err(CAS_MISMATCH);
                }
                shared.insert(key, (value, current + 1));
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn streams(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_continue_stream",
        |call: Call<'_>, stream_type: u32| {
            play("proxy_continue_stream", Some(stream_type), call, |guest| {
                let stream = guest.world().stream()?;
                match stream_type {
                    0 => stream.request_resumed = true,
                    1 => stream.response_resumed = true,
                    _ => return Err(BAD_ARGUMENT),
                }
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_close_stream",
        |call: Call<'_>, stream_type: u32| {
            play("proxy_close_stream", Some(stream_type), call, |guest| {
                guest.world().stream()?.closed = true;
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |call: Call<'_>,
         status: u32,
         _: u32,
         _: u32,
         body: u32,
         body_length: u32,
         at: u32,
         length: u32,
         _: i32| {
            play("proxy_send_local_response", None, call, |guest| {
                let headers = wire::decode(&guest.read(at, length)?).ok_or(BAD_ARGUMENT)?;
                let body = guest.read(body, body_length)?;
                let stream = guest.world().stream()?;
                assert!(
                    stream.local_response.is_none(),
                    "the filter answered the same request twice"
                );
                stream.local_response = Some(LocalResponse {
                    status,
                    headers,
                    body,
                });
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |call: Call<'_>,
         cluster: u32,
         cluster_length: u32,
         headers: u32,
         headers_length: u32,
         body: u32,
         body_length: u32,
         _trailers: u32,
         _trailers_length: u32,
         timeout: u32,
         id_at: u32| {
            play("proxy_http_call", None, call, |guest| {
                let cluster = guest.read_text(cluster, cluster_length)?;
                let headers =
                    wire::decode(&guest.read(headers, headers_length)?).ok_or(BAD_ARGUMENT)?;
                let body = guest.read(body, body_length)?;
                // Envoy refuses a call that lacks one of these.
                for required in [":method", ":path", ":authority"] {
                    wire::value(&headers, required).ok_or(BAD_ARGUMENT)?;
                }
                let timeout = Duration::from_millis(timeout.into());
                let id = guest.world().call_out(cluster, headers, body, timeout);
                guest.write_u32(id_at, id)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |call: Call<'_>, context: u32| {
            play("proxy_set_effective_context", None, call, |guest| {
                guest.world().enter(context)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_done", |call: Call<'_>| {
        play("proxy_done", None, call, |_| Ok(()))
    })?;
    Ok(())
}

fn metrics(linker: &mut Linker<World>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |call: Call<'_>, kind: u32, at: u32, length: u32, id_at: u32| {
            play("proxy_define_metric", Some(kind), call, |guest| {
                let name = guest.read_text(at, length)?;
                let metrics = &mut guest.world().metrics;
                metrics.push((name, 0));
                let id = metrics.len() as u32;
                guest.write_u32(id_at, id)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |call: Call<'_>, id: u32, at: u32| {
            play("proxy_get_metric", None, call, |guest| {
                let value = *metric(guest, id)?;
                guest.write_u64(at, value)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |call: Call<'_>, id: u32, value: u64| {
            play("proxy_record_metric", None, call, |guest| {
                *metric(guest, id)? = value;
                Ok(())
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |call: Call<'_>, id: u32, by: i64| {
            play("proxy_increment_metric", None, call, |guest| {
                let metric = metric(guest, id)?;
                *metric = metric.saturating_add_signed(by);
                Ok(())
            })
        },
    )?;
    Ok(())
}

fn metric<'a>(guest: &'a mut Guest<'_>, id: u32) -> std::result::Result<&'a mut u64, Refusal> {
    let at = (id as usize).checked_sub(1).ok_or(NOT_FOUND)?;
    guest
        .world()
        .metrics
        .get_mut(at)
        .map(|(_, value)| value)
        .ok_or(NOT_FOUND)
}
