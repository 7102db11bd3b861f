//! A compiled expression.

/// A compiled tree.
#[derive(Debug)]
pub(super) enum Code {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Str(Box<str>),
    Input,
    SagaId,
    Body,
    Status,
    /// A step's outputs; none yet is the empty map.
    Step(usize),
    /// A variable of an enclosing loop, by its depth.
    Var(usize),
    Member(Box<Code>, Box<str>),
    Has(Box<Code>, Box<str>),
    Not(Box<Code>),
    Negate(Box<Code>),
    And(Box<[Code; 2]>),
    Or(Box<[Code; 2]>),
    If(Box<[Code; 3]>),
    Binary(Binary, Box<[Code; 2]>),
    Call(Function, Vec<Code>),
    List(Vec<Code>),
    Map(Vec<(Code, Code)>),
    Loop(Box<Loop>),
}

/// An operator on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
}

/// A function on values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    String,
    Int,
    Double,
}

/// A macro over the items of a list or the keys of a map.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) range: Code,
    /// For `all`, `exists`, `exists_one`, `filter`: the predicate; for `map`: its filter, if it has one.
    pub(super) test: Option<Code>,
    /// For `map`: the result.
    pub(super) result: Option<Code>,
}

/// Which macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}
