"""The crossed mixed model: ratings of which listeners and sentences both repeat.

    score = system (and what else is fixed) + listener + sentence + listener:system + sentence:system + rest

A listener may like one system more than others do, and a sentence may suit one system: leaving either out takes
ratings that repeat each other for new ones. Variances are estimated by restricted maximum likelihood (Patterson and
Thompson, Biometrika 58(3), 1971), with the rest's profiled out; the penalised least squares form is that of Bates et
al., "Fitting linear mixed-effects models using lme4", Journal of Statistical Software 67(1), 2015, section 3. The
factor with more levels is eliminated block by block, so what is factorised is only as large as the other.

Degrees of freedom are Satterthwaite's, with the average information of Gilmour, Thompson and Cullis (Biometrics
51(4), 1995), and never more than the levels of the smaller factor, less one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.outcome import NotEnough, numbered

Real = NDArray[np.float64]

_NIL = 1e-7  # the least share of the rest's variance that is tried; at it, a variance is nil
_LARGEST = 60_000_000  # numbers in the largest table; above it the model is not fitted


@dataclass(frozen=True)
class Contrast:
    """A linear function of the fixed effects, with its interval."""

    estimate: float
    se: float
    df: float
    low: float
    high: float
    p: float  # two-sided, against nil


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model: fixed effects, variances, and what intervals need."""

    beta: Real  # (effects,)
    covariance: Real  # (effects, effects)
    variances: dict[str, float]  # of each random effect; of the rest under `residual`
    criterion: float  # -2 log of the restricted likelihood
    n: int
    listeners: int
    items: int
    gradients: Real  # (variances, effects, effects): of the covariance by each variance
    information: Real  # (variances, variances): how much the ratings tell of the variances

    def contrast(self, weights: ArrayLike, level: float = 0.95) -> Contrast:
        """`weights` (effects,) times the fixed effects."""
        from scipy.stats import t

        along = np.asarray(weights, dtype=float)
        estimate, variance = float(along @ self.beta), float(along @ self.covariance @ along)
        df, se = self._degrees(along, variance), float(np.sqrt(variance))
        half = float(t.ppf((1 + level) / 2, df)) * se
        return Contrast(estimate, se, df, estimate - half, estimate + half, float(2 * t.sf(abs(estimate) / se, df)))

    def _degrees(self, along: Real, variance: float) -> float:
        slope = np.einsum("i,kij,j->k", along, self.gradients, along)
        values, vectors = np.linalg.eigh(self.information)
        kept = values > 1e-10 * values.max()
        spread = float(np.sum((vectors.T @ slope)[kept] ** 2 / values[kept]))
        most = max(1.0, min(self.listeners, self.items) - 1.0)
        return float(np.clip(2 * variance**2 / spread, 1.0, most)) if spread > 0 else most


def fit(
    scores: ArrayLike,
    fixed: ArrayLike,
    listeners: Sequence[object],
    items: Sequence[object],
    systems: Sequence[object] | None = None,
) -> Fit | NotEnough:
    """Fit the model to scores (n,). `fixed`: (n, effects), with its column of ones.

    Without `systems`, as for comparisons of two, random effects are those of listener and of sentence. What each
    listener (or sentence) rated only once a system cannot be told from the rest and is left to it.
    """
    y, x = np.asarray(scores, dtype=float), np.asarray(fixed, dtype=float)
    (who, people), (what, sentences) = numbered(listeners), numbered(items)
    if len(y) <= x.shape[1] + 2 or min(people, sentences) < 2:
        return NotEnough("fewer than two listeners or two sentences")
    if np.linalg.matrix_rank(x.T @ x) < x.shape[1]:
        return NotEnough("a system cannot be told from the others by these ratings")
    if np.linalg.norm(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) < 1e-9 * max(1.0, float(np.linalg.norm(y))):
        return NotEnough("all ratings of a system are alike")
    which = numbered(systems)[0] if systems is not None else np.zeros(len(y), np.int64)
    names, levels = ("listener", "item"), ((who, people), (what, sentences))
    if sentences > people:
        names, levels = ("item", "listener"), ((what, sentences), (who, people))
    sides = [_Side.of(name, *level, which) for name, level in zip(names, levels, strict=True)]
    if sides[0].columns.shape[1] * max(sides[1].columns.shape[1], 1) > _LARGEST:
        return NotEnough("too many listeners and sentences for this model")
    return _Tables(y, x, *sides).fit(people, sentences) or NotEnough("the model did not settle")


@dataclass(frozen=True, eq=False)
class _Side:
    """The random effects of one factor: indicators of its levels and, where they can be told, of level by system."""

    names: tuple[str, ...]
    columns: Any  # sparse (n, levels · width), level by level
    kind: NDArray[np.int64]  # (levels · width,): which of `names` a column is of

    @property
    def width(self) -> int:
        """Columns of a level."""
        first = int((self.kind == 0).sum())
        return len(self.kind) // first

    @classmethod
    def of(cls, name: str, level: NDArray[np.int64], levels: int, system: NDArray[np.int64]) -> "_Side":
        from scipy.sparse import csr_array

        several = int(system.max()) + 1
        crossed = several > 1 and len(np.unique(level * several + system)) < len(level)
        width = 1 + several if crossed else 1
        columns = [level * width] + ([level * width + 1 + system] if crossed else [])
        where = (np.tile(np.arange(len(level)), len(columns)), np.concatenate(columns))
        table = csr_array((np.ones(len(where[0])), where), shape=(len(level), levels * width))
        kind = np.tile([0] + [1] * (width - 1), levels)
        return cls((name, f"{name}:system")[: 2 if crossed else 1], table, kind)


class _Tables:
    """A model as cross-products of its columns: no step but the last depends on how many ratings there are."""

    def __init__(self, y: Real, x: Real, outer: _Side, inner: _Side) -> None:
        self.right = np.column_stack([x, y])
        self.outer, self.inner, self.effects = outer, inner, x.shape[1]
        width = outer.width
        blocks = (outer.columns.T @ outer.columns).tocoo()
        self.a = np.zeros((outer.columns.shape[1] // width, width, width))
        self.a[blocks.row // width, blocks.row % width, blocks.col % width] = blocks.data
        self.b = (outer.columns.T @ inner.columns).toarray()
        self.d = (inner.columns.T @ inner.columns).toarray()
        self.outer_right, self.inner_right = outer.columns.T @ self.right, inner.columns.T @ self.right
        self.square = self.right.T @ self.right
        self.names = (*outer.names, *inner.names)
        self.kind = np.concatenate([outer.kind, inner.kind + len(outer.names)])

    def fit(self, listeners: int, items: int) -> Fit | None:
        """The fit; None where the likelihood's highest point was not found."""
        from scipy.optimize import minimize

        scale = 10 / len(self.right)  # first steps neither leap nor creep
        bounds = [(_NIL**0.5, 1e3)] * len(self.names)

        def loss(roots: Real) -> tuple[float, Real]:  # of the shares, by which the deviance bends evenly
            deviance, slope = self.deviance(roots**2)
            return scale * deviance, scale * 2 * roots * slope

        found = minimize(loss, np.full(len(bounds), 0.3**0.5), jac=True, method="L-BFGS-B", bounds=bounds,
                         options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500})  # fmt: skip
        shares = np.asarray(found.x) ** 2
        still = np.asarray(found.jac) * found.x / (2 * scale)  # by the logarithm of each share: nil at the best
        if np.abs(still[found.x < bounds[0][1]]).max(initial=0.0) > 1e-2:
            return None
        state = _Factorised(self, shares)
        ratio = np.append(np.where(shares <= 2 * _NIL, 0.0, shares), 1.0) * state.rest
        gradients, information = state.uncertainty()
        return Fit(
            state.beta,
            state.inverse * state.rest,
            dict(zip((*self.names, "residual"), ratio.tolist(), strict=True)),
            float(found.fun) / scale,
            len(self.right),
            listeners,
            items,
            gradients,
            information,
        )

    def deviance(self, shares: Real) -> tuple[float, Real]:
        """-2 log of the restricted likelihood, and its slope, at variances as shares of the rest's."""
        state = _Factorised(self, shares)
        return state.deviance, state.slope()


class _Factorised:
    """The model at given variances: V = I + sum of shares times Z Z', by its Cholesky factors."""

    def __init__(self, tables: _Tables, shares: Real) -> None:
        from scipy.linalg import cho_solve, solve_triangular

        self.tables, self.shares = tables, shares
        edge = int(tables.outer.columns.shape[1])
        levels, width = tables.a.shape[:2]
        root = np.sqrt(shares)[tables.kind]
        self.root, first, second = root, root[:edge], root[edge:]
        a = tables.a * first.reshape(levels, width, 1) * first.reshape(levels, 1, width) + np.eye(width)
        low_a = np.linalg.cholesky(a)
        self.up_a: Real = np.linalg.inv(low_a)  # (levels, width, width): small blocks, and many
        self.h = self.forth(tables.b, first)
        self.h *= second
        outer = self.forth(tables.outer_right, first)
        schur = tables.d * np.outer(second, second) + np.eye(len(second)) - self.h.T @ self.h
        self.low_s = np.linalg.cholesky(schur)
        inner = solve_triangular(self.low_s, tables.inner_right * second[:, None] - self.h.T @ outer, lower=True)
        square = tables.square - outer.T @ outer - inner.T @ inner
        effects, n = tables.effects, len(tables.right)
        low_x = np.linalg.cholesky(square[:effects, :effects])
        self.inverse = cho_solve((low_x, True), np.eye(effects))
        self.beta = self.inverse @ square[:effects, effects]
        left = n - effects
        self.rest = max(float(square[effects, effects] - square[effects, :effects] @ self.beta), 1e-300) / left
        logs = sum(float(np.log(np.diagonal(low, axis1=-2, axis2=-1)).sum()) for low in (low_a, self.low_s, low_x))
        self.deviance = 2 * logs + left * (1 + np.log(2 * np.pi * self.rest))
        u_inner = solve_triangular(self.low_s.T, inner, lower=False)
        u_outer = self.back(outer - self.h @ u_inner)
        self.u = np.vstack([u_outer, u_inner])  # Z'V⁻¹ of the right-hand sides, times the roots of the shares

    def forth(self, values: Real, first: Real) -> Real:
        """Solve the blocks of the outer factor for rows (edge, columns), each times its own of `first`."""
        levels, width = self.up_a.shape[:2]
        solved: Real = (self.up_a * first.reshape(levels, 1, width)) @ values.reshape(levels, width, -1)
        return solved.reshape(levels * width, -1)

    def back(self, values: Real) -> Real:
        """Solve the transposed blocks of the outer factor."""
        levels, width = self.up_a.shape[:2]
        solved: Real = self.up_a.transpose(0, 2, 1) @ values.reshape(levels, width, -1)
        return solved.reshape(levels * width, -1)

    def slope(self) -> Real:
        """Of the deviance, by each share: tr(P ZZ') - y'P ZZ' P y / rest."""
        from scipy.linalg import solve_triangular

        tables = self.tables
        reach, up_s = self.back(self.h), solve_triangular(self.low_s, np.eye(len(self.low_s)), lower=True)
        whole: Real = up_s.T @ up_s
        diagonal = np.concatenate([np.square(self.up_a).sum(axis=1).ravel(), np.square(up_s).sum(axis=0)])
        diagonal[: len(reach)] += np.einsum("ij,ij->i", reach @ whole, reach)
        through_x = np.einsum("ki,ij,kj->k", self.u[:, :-1], self.inverse, self.u[:, :-1])
        through_y = np.square(self.u[:, -1] - self.u[:, :-1] @ self.beta) / self.rest
        return np.bincount(tables.kind, 1 - diagonal - through_x - through_y, len(self.shares)) / self.shares

    def uncertainty(self) -> tuple[Real, Real]:
        """Slopes of the fixed effects' covariance by each variance, and the average information on the variances."""
        tables, effects = self.tables, self.tables.effects
        x, y = tables.right[:, :effects], tables.right[:, effects]
        spread = [tables.outer.columns, tables.inner.columns]
        both = [side[:, mine] for side, kinds in zip(spread, (tables.outer.kind, tables.inner.kind), strict=True)
                for mine in (np.flatnonzero(kinds == kind) for kind in range(int(kinds.max()) + 1))]  # fmt: skip
        a, residual = self.without(x) @ self.inverse, self.without(y[:, None] - x @ self.beta[:, None])
        reached = [z.T @ a for z in both] + [a]
        gradients = np.array([one.T @ one for one in reached])
        forces = np.column_stack([z @ (z.T @ residual) for z in both] + [residual]) / self.rest
        solved = self.without(forces)
        solved -= self.without(x) @ self.inverse @ (x.T @ solved)
        return gradients, forces.T @ solved / (2 * self.rest)

    def without(self, values: Real) -> Real:
        """V⁻¹ times values (n, columns)."""
        from scipy.linalg import cho_solve

        tables, edge = self.tables, self.tables.outer.columns.shape[1]
        first, second = self.root[:edge, None], self.root[edge:, None]
        outer, inner = first * (tables.outer.columns.T @ values), second * (tables.inner.columns.T @ values)
        half = self.forth(outer, np.ones(edge))
        u_inner = cho_solve((self.low_s, True), inner - self.h.T @ half)
        u_outer = self.back(half - self.h @ u_inner)
        found: Real = values - tables.outer.columns @ (first * u_outer) - tables.inner.columns @ (second * u_inner)
        return found
