//! Going through a rule's expressions, however deep, without recursion.

#[cfg(feature = "authoring")]
use regorus::unstable::WithModifier;
use regorus::unstable::{AssignOp, Expr, Literal, Query, Ref, Rule, RuleAssign, RuleHead, Span};

/// One thing of interest in a rule.
pub(crate) enum Node<'a> {
    /// A call of a function, by its name as written.
    #[cfg(feature = "authoring")]
    Call { name: String, span: &'a Span },
    /// `name := …`
    Assign { name: &'a Span },
    /// What a comprehension yields, for what.
    Comprehension {
        terms: [Option<&'a Expr>; 2],
        query: &'a Query,
    },
    /// A name, with what is looked up below it.
    Reference(&'a Expr),
    /// `with … as …`
    #[cfg(feature = "authoring")]
    With(&'a WithModifier),
}

enum Item<'a> {
    Expr(&'a Expr),
    Query(&'a Query),
}

/// Shows `see` whatever is of interest in `rule`: heads, bodies, and all they contain.
pub(crate) fn rule<'a>(rule: &'a Rule, see: &mut dyn FnMut(Node<'a>)) {
    let mut items = Vec::new();
    match rule {
        Rule::Default { value, .. } => items.push(Item::Expr(value)),
        Rule::Spec { head, bodies, .. } => {
            items.extend(head_value(head).map(|value| Item::Expr(value)));
            if let RuleHead::Func { args, .. } = head {
                items.extend(args.iter().map(|arg| Item::Expr(arg)));
            }
            for body in bodies {
                items.extend(body.assign.iter().map(|a| Item::Expr(&a.value)));
                items.push(Item::Query(&body.query));
            }
        }
    }
    walk(items, see);
}

/// What a definition answers with: the value it assigns, or the member it adds.
pub(crate) fn head_value(head: &RuleHead) -> Option<&Ref<Expr>> {
    match head {
        RuleHead::Set { key, .. } => key.as_ref(),
        RuleHead::Compr { .. } | RuleHead::Func { .. } => head_assign(head).map(|a| &a.value),
    }
}

/// `:= value` of a definition.
pub(crate) fn head_assign(head: &RuleHead) -> Option<&RuleAssign> {
    match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
        RuleHead::Set { .. } => None,
    }
}

fn walk<'a>(mut items: Vec<Item<'a>>, see: &mut dyn FnMut(Node<'a>)) {
    while let Some(item) = items.pop() {
        match item {
            Item::Query(query) => {
                for statement in &query.stmts {
                    literal(&statement.literal, &mut items);
                    for with in &statement.with_mods {
                        #[cfg(feature = "authoring")]
                        see(Node::With(with));
                        items.push(Item::Expr(&with.r#as));
                    }
                }
            }
            Item::Expr(expr) => expression(expr, &mut items, see),
        }
    }
}

fn literal<'a>(literal: &'a Literal, items: &mut Vec<Item<'a>>) {
    match literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn {
            key,
            value,
            collection,
            ..
        } => {
            membership(key.as_deref(), value, collection, items);
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => items.push(Item::Expr(expr)),
        Literal::Every { domain, query, .. } => {
            items.extend([Item::Expr(domain), Item::Query(query)]);
        }
    }
}

/// `some key, value in collection`, and the same without `some`.
fn membership<'a>(
    key: Option<&'a Expr>,
    value: &'a Expr,
    collection: &'a Expr,
    items: &mut Vec<Item<'a>>,
) {
    items.extend(key.map(Item::Expr));
    items.extend([Item::Expr(value), Item::Expr(collection)]);
}

fn expression<'a>(expr: &'a Expr, items: &mut Vec<Item<'a>>, see: &mut dyn FnMut(Node<'a>)) {
    match expr {
        Expr::Array { items: all, .. } | Expr::Set { items: all, .. } => {
            items.extend(all.iter().map(|item| Item::Expr(item)));
        }
        Expr::Object { fields, .. } => {
            for (_, key, value) in fields {
                items.extend([Item::Expr(key), Item::Expr(value)]);
            }
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            see(Node::Comprehension {
                terms: [Some(term), None],
                query,
            });
            items.extend([Item::Expr(term), Item::Query(query)]);
        }
        Expr::ObjectCompr {
            key, value, query, ..
        } => {
            see(Node::Comprehension {
                terms: [Some(key), Some(value)],
                query,
            });
            items.extend([Item::Expr(key), Item::Expr(value), Item::Query(query)]);
        }
        Expr::Call {
            #[cfg(feature = "authoring")]
            fcn,
            params,
            ..
        } => {
            #[cfg(feature = "authoring")]
            see(Node::Call {
                name: fcn.span().text().to_owned(),
                span: beginning(fcn),
            });
            items.extend(params.iter().map(|param| Item::Expr(param)));
        }
        Expr::UnaryExpr { expr, .. } => items.push(Item::Expr(expr)),
        Expr::AssignExpr { op, lhs, rhs, .. } => {
            if let (AssignOp::ColEq, Expr::Var { span: name, .. }) = (op, &**lhs) {
                see(Node::Assign { name });
            }
            items.extend([Item::Expr(lhs), Item::Expr(rhs)]);
        }
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. } => items.extend([Item::Expr(lhs), Item::Expr(rhs)]),
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            membership(key.as_deref(), value, collection, items);
        }
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
            see(Node::Reference(expr));
            reference(expr, items);
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. } => {}
    }
}

/// What the brackets of a reference hold, and what it begins with.
fn reference<'a>(mut expr: &'a Expr, items: &mut Vec<Item<'a>>) {
    loop {
        match expr {
            Expr::RefDot { refr, .. } => expr = refr,
            Expr::RefBrack { refr, index, .. } => {
                items.push(Item::Expr(index));
                expr = refr;
            }
            Expr::Var { .. } => return,
            // `f(x).y`, `{…}[k]`
            other => return items.push(Item::Expr(other)),
        }
    }
}

/// Where a reference begins.
#[cfg(feature = "authoring")]
fn beginning(mut expr: &Expr) -> &Span {
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = expr {
        expr = refr;
    }
    expr.span()
}
