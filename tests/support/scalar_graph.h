#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <vector>

/// A reverse-mode autograd of fp64 scalars: what skein's ops and models are tested against. It is slow, plain
/// and shares nothing with skein's own tape. Its gradients are checked against finite differences wherever it
/// is used.
namespace skein::fp64 {

class Graph;

/// A number, and, unless it is a constant, its node in a graph.
class Scalar {
  public:
    Scalar(double value = 0.0) : value_(value) {}  // NOLINT: a number is meant to convert
    double value() const { return value_; }
    bool is_constant() const { return graph_ == nullptr; }

  private:
    friend class Graph;
    double value_;
    std::int32_t node_ = -1;
    Graph* graph_ = nullptr;
};

class Graph {
  public:
    /// One input of an operation and the partial derivative for it.
    struct Term {
        Scalar from;
        double partial;
    };

    Scalar variable(double value) {
        Scalar scalar(value);
        scalar.graph_ = this;
        scalar.node_ = static_cast<std::int32_t>(first_edge_.size());
        first_edge_.push_back(edges_.size());
        return scalar;
    }

    /// The result of an operation: a constant when all of its inputs are.
    static Scalar record(double value, std::span<const Term> terms) {
        Graph* graph = nullptr;
        for (const Term& term : terms)
            if (term.from.graph_) graph = term.from.graph_;
        if (!graph) return value;
        const Scalar result = graph->variable(value);
        for (const Term& term : terms)
            if (term.from.graph_) graph->edges_.push_back({term.from.node_, term.partial});
        return result;
    }
    static Scalar record(double value, std::initializer_list<Term> terms) {
        return record(value, std::span(terms.begin(), terms.size()));
    }

    /// Finds the gradient of `root` for every node before it.
    void backward(const Scalar& root) {
        gradients_.assign(first_edge_.size(), 0.0);
        if (root.node_ < 0) return;
        gradients_[static_cast<std::size_t>(root.node_)] = 1.0;
        for (auto node = static_cast<std::size_t>(root.node_) + 1; node-- > 0;) {
            const std::size_t end = node + 1 < first_edge_.size() ? first_edge_[node + 1] : edges_.size();
            for (std::size_t edge = first_edge_[node]; edge < end; ++edge)
                gradients_[static_cast<std::size_t>(edges_[edge].from)] +=
                    edges_[edge].partial * gradients_[node];
        }
    }
    double gradient(const Scalar& scalar) const {
        return gradients_.at(static_cast<std::size_t>(scalar.node_));
    }

  private:
    struct Edge {
        std::int32_t from;
        double partial;
    };
    std::vector<std::size_t> first_edge_;  // of each node; its edges end where the next node's begin
    std::vector<Edge> edges_;
    std::vector<double> gradients_;
};

inline Scalar operator+(const Scalar& a, const Scalar& b) {
    return Graph::record(a.value() + b.value(), {{a, 1.0}, {b, 1.0}});
}
inline Scalar operator-(const Scalar& a, const Scalar& b) {
    return Graph::record(a.value() - b.value(), {{a, 1.0}, {b, -1.0}});
}
inline Scalar operator*(const Scalar& a, const Scalar& b) {
    return Graph::record(a.value() * b.value(), {{a, b.value()}, {b, a.value()}});
}
inline Scalar operator/(const Scalar& a, const Scalar& b) {
    const double ratio = a.value() / b.value();
    return Graph::record(ratio, {{a, 1.0 / b.value()}, {b, -ratio / b.value()}});
}
inline Scalar exp(const Scalar& x) {
    const double value = std::exp(x.value());
    return Graph::record(value, {{x, value}});
}
inline Scalar log(const Scalar& x) {
    return Graph::record(std::log(x.value()), {{x, 1.0 / x.value()}});
}
inline Scalar sqrt(const Scalar& x) {
    const double value = std::sqrt(x.value());
    return Graph::record(value, {{x, 0.5 / value}});
}
inline Scalar tanh(const Scalar& x) {
    const double value = std::tanh(x.value());
    return Graph::record(value, {{x, 1.0 - value * value}});
}
inline Scalar relu(const Scalar& x) {
    return Graph::record(x.value() > 0.0 ? x.value() : 0.0, {{x, x.value() > 0.0 ? 1.0 : 0.0}});
}
inline Scalar sum(std::span<const Scalar> values) {
    std::vector<Graph::Term> terms;
    double total = 0.0;
    for (const Scalar& value : values) {
        total += value.value();
        terms.push_back({value, 1.0});
    }
    return Graph::record(total, terms);
}
inline Scalar dot(std::span<const Scalar> a, std::span<const Scalar> b) {
    if (a.size() != b.size()) throw std::logic_error("dot: sizes differ");
    std::vector<Graph::Term> terms;
    double total = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        total += a[i].value() * b[i].value();
        if (!a[i].is_constant()) terms.push_back({a[i], b[i].value()});
        if (!b[i].is_constant()) terms.push_back({b[i], a[i].value()});
    }
    return Graph::record(total, terms);
}

/// Row-major scalars.
struct Matrix {
    std::int64_t rows = 0, columns = 0;
    std::vector<Scalar> values;

    Matrix() = default;
    Matrix(std::int64_t row_count, std::int64_t column_count)
        : rows(row_count),
          columns(column_count),
          values(static_cast<std::size_t>(row_count * column_count)) {}

    Scalar& operator()(std::int64_t row, std::int64_t column) {
        return values[static_cast<std::size_t>(row * columns + column)];
    }
    const Scalar& operator()(std::int64_t row, std::int64_t column) const {
        return values[static_cast<std::size_t>(row * columns + column)];
    }
    std::span<const Scalar> row(std::int64_t row) const { return part_of_row(row, 0, columns); }
    std::span<const Scalar> part_of_row(std::int64_t row, std::int64_t first, std::int64_t count) const {
        return std::span(values).subspan(static_cast<std::size_t>(row * columns + first),
                                         static_cast<std::size_t>(count));
    }
    explicit operator bool() const { return !values.empty(); }
};

}  // namespace skein::fp64
