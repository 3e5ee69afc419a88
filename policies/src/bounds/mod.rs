//! How much a decision may make out of little. The engine counts steps, not what a step makes: thirty lines that double a
//! text make gigabytes of it. So whatever runs a program gives it others of those built-ins that can do so, which keep
//! an account, and one for multiplication; nothing of it is in the portable form.

mod costs;

use std::cell::Cell;

use regorus::rvm::instructions::{BuiltinCallParams, Instruction};
use regorus::rvm::program::{BuiltinInfo, Program};
use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};
#[cfg(feature = "authoring")]
use regorus::{Extension, unstable::Source};
use regorus::{LimitError, Value};

/// The most that one decision's built-ins may make, in bytes, about.
pub(crate) const MOST: usize = 32 << 20;

/// The longest number that a multiplication may make, in digits.
const MOST_DIGITS: usize = 1_024;

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// See [`costs`].
type Cost = fn(&[Value]) -> Option<usize>;

/// A built-in, as the engine has it.
type Function = fn(&Span, &[Ref<Expr>], &[Value], bool) -> anyhow::Result<Value>;

/// The built-ins that can make much of little, and what is called in their place.
#[rustfmt::skip]
const GROWING: [(&str, Cost, Function); 16] = [
    ("array.concat", costs::elements, bounded::<0>),
    ("base64.encode", costs::encoded, bounded::<1>),
    ("base64url.encode", costs::encoded, bounded::<2>),
    ("base64url.encode_no_pad", costs::encoded, bounded::<3>),
    ("concat", costs::joined, bounded::<4>),
    ("hex.encode", costs::encoded, bounded::<5>),
    ("json.marshal", costs::written, bounded::<6>),
    ("json.marshal_with_options", costs::written, bounded::<7>),
    ("json.unmarshal", costs::pieces, bounded::<8>),
    ("regex.find_n", costs::pieces, bounded::<9>),
    ("regex.replace", costs::replaced_by_pattern, bounded::<10>),
    ("regex.split", costs::pieces, bounded::<11>),
    ("replace", costs::replaced, bounded::<12>),
    ("split", costs::pieces, bounded::<13>),
    ("sprintf", costs::formatted, bounded::<14>),
    ("strings.replace_n", costs::replaced_by_each, bounded::<15>),
];

/// Begins a decision: nothing has been made yet.
pub(crate) fn begin() {
    MADE.set(0);
}

/// What to say of a decision that made too much.
pub(crate) fn told() -> String {
    format!(
        "the policy made more than {} MiB out of this call, or a number too long; simplify the rules for it",
        MOST >> 20
    )
}

/// Whether more was made than may be.
#[cfg(feature = "authoring")]
pub(crate) fn are_exceeded() -> bool {
    MADE.get() > MOST
}

/// The program with bounds.
pub(crate) fn within(program: &Program) -> Program {
    let mut program = program.clone();
    let names = program.builtin_info_table.iter().map(|info| &info.name);
    for (name, resolved) in names.zip(&mut program.resolved_builtins) {
        if let Some((_, _, bounded)) = GROWING.iter().find(|(of, ..)| of == name) {
            resolved.0 = *bounded;
        }
    }
    multiplication(&mut program);
    program
}

/// Has a built-in multiply.
fn multiplication(program: &mut Program) {
    let multiplies = |i: &Instruction| matches!(i, Instruction::Mul { .. });
    if !program.instructions.iter().any(multiplies) {
        return;
    }
    let builtin_index = program.add_builtin_info(BuiltinInfo {
        name: "*".to_owned(),
        num_args: 2,
    });
    let function: BuiltinFcn = (product, 2);
    program.resolved_builtins.push(function);
    for instruction in &mut program.instructions {
        if let Instruction::Mul { dest, left, right } = *instruction {
            let params = BuiltinCallParams {
                dest,
                builtin_index,
                num_args: 2,
                args: [left, right, 0, 0, 0, 0, 0, 0],
            };
            let params_index = program.instruction_data.add_builtin_call_params(params);
            *instruction = Instruction::BuiltinCall { params_index };
        }
    }
}

fn bounded<const N: usize>(
    span: &Span,
    expressions: &[Ref<Expr>],
    arguments: &[Value],
    strict: bool,
) -> anyhow::Result<Value> {
    call(N, span, expressions, arguments, strict)
}

/// Not written out for each of them: the filter has little room.
#[inline(never)]
fn call(
    nth: usize,
    span: &Span,
    expressions: &[Ref<Expr>],
    arguments: &[Value],
    strict: bool,
) -> anyhow::Result<Value> {
    let growing = GROWING.get(nth);
    let (name, cost, _) = growing.ok_or_else(|| anyhow::anyhow!("no built-in"))?;
    let original = BUILTINS.get(name);
    let (original, _) = original.ok_or_else(|| anyhow::anyhow!("no built-in"))?;
    match cost(arguments) {
        Some(cost) => charge(cost)?,
        None => anyhow::bail!("{name} cannot be called so"),
    }
    original(span, expressions, arguments, strict)
}

/// The same built-ins for the interpreter, which runs the tests of policies: each with its name and how many arguments it takes.
#[cfg(feature = "authoring")]
pub(crate) fn extensions() -> impl Iterator<Item = (&'static str, u8, Box<dyn Extension>)> {
    GROWING.iter().filter_map(|(name, _, bounded)| {
        let (_, arity) = *BUILTINS.get(name)?;
        let source = Source::from_contents("<builtin>".to_owned(), String::new()).ok()?;
        let span = Span {
            source,
            line: 1,
            col: 1,
            start: 0,
            end: 0,
        };
        let null = Expr::Null {
            span: span.clone(),
            value: Value::Null,
            eidx: 0,
        };
        let expressions = vec![Ref::new(null); usize::from(arity)];
        let extension =
            move |arguments: Vec<Value>| match bounded(&span, &expressions, &arguments, false) {
                Err(error) if error.downcast_ref::<LimitError>().is_none() => Ok(Value::Undefined),
                answer => answer,
            };
        Some((*name, arity, Box::new(extension) as Box<dyn Extension>))
    })
}

fn charge(bytes: usize) -> Result<(), LimitError> {
    let made = MADE.get().saturating_add(bytes);
    MADE.set(made);
    if made > MOST {
        return Err(LimitError::MemoryLimitExceeded {
            usage: u64::try_from(made).unwrap_or(u64::MAX),
            limit: u64::try_from(MOST).unwrap_or(u64::MAX),
        });
    }
    Ok(())
}

/// `*`: of numbers of 64 bits as ever, of longer ones while the product is not too long.
fn product(_: &Span, _: &[Ref<Expr>], arguments: &[Value], _: bool) -> anyhow::Result<Value> {
    let [Value::Number(a), Value::Number(b)] = arguments else {
        anyhow::bail!("* takes two numbers");
    };
    let short = |n: &Value| n.as_i64().is_ok();
    let made = Value::from(a.mul(b)?);
    if arguments.iter().all(short) {
        return Ok(made);
    }
    match &made {
        Value::Number(number)
            if number.is_integer() && number.format_decimal().len() > MOST_DIGITS =>
        {
            charge(MOST.saturating_add(1))?;
            Ok(Value::Undefined)
        }
        _ => Ok(made),
    }
}
