//! Reading and writing the filter's linear memory.

use wasmtime::{Caller, Extern, Memory};

use super::status::{INTERNAL_FAILURE, Refusal};
use super::world::World;

/// One host call in progress: the filter's memory and the world.
pub struct Guest<'a> {
    caller: Caller<'a, World>,
}

impl<'a> Guest<'a> {
    pub fn new(caller: Caller<'a, World>) -> Self {
        Self { caller }
    }

    pub fn world(&mut self) -> &mut World {
        self.caller.data_mut()
    }

    fn memory(&mut self) -> Result<Memory, Refusal> {
        self.caller
            .get_export("memory")
            .and_then(Extern::into_memory)
            .ok_or(INTERNAL_FAILURE)
    }

    pub fn read(&mut self, at: u32, length: u32) -> Result<Vec<u8>, Refusal> {
        let memory = self.memory()?;
        let start = at as usize;
        let bytes = memory
            .data(&self.caller)
            .get(start..start + length as usize);
        bytes.map(<[u8]>::to_vec).ok_or(INTERNAL_FAILURE)
    }

    pub fn read_text(&mut self, at: u32, length: u32) -> Result<String, Refusal> {
        Ok(String::from_utf8_lossy(&self.read(at, length)?).into_owned())
    }

    pub fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Refusal> {
        let memory = self.memory()?;
        memory
            .write(&mut self.caller, at as usize, bytes)
            .map_err(|_| INTERNAL_FAILURE)
    }

    pub fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Refusal> {
        self.write(at, &value.to_le_bytes())
    }

    pub fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Refusal> {
        self.write(at, &value.to_le_bytes())
    }

    /// Hands a value over: memory from the filter's own allocator, its address and length written back.
    pub fn give(&mut self, bytes: &[u8], address_at: u32, length_at: u32) -> Result<(), Refusal> {
        let length = u32::try_from(bytes.len()).map_err(|_| INTERNAL_FAILURE)?;
        let mut address = 0;
        if length > 0 {
            let allocate = self
                .caller
                .get_export("proxy_on_memory_allocate")
                .and_then(Extern::into_func);
            let allocate = allocate
                .ok_or(INTERNAL_FAILURE)?
                .typed::<u32, u32>(&self.caller);
            let allocate = allocate.map_err(|_| INTERNAL_FAILURE)?;
            address = allocate
                .call(&mut self.caller, length)
                .map_err(|_| INTERNAL_FAILURE)?;
            self.write(address, bytes)?;
        }
        self.write_u32(address_at, address)?;
        self.write_u32(length_at, length)
    }
}
