/* C++17: all valleys of a landscape, by Newton's method from many places, on all threads at once with one network.
 *
 *   c++ -std=c++17 -pthread valleys.cpp $(python -m fastnn config --cflags --libs) -o valleys && ./valleys landscape.fnn
 *
 * The functions of fastnn take no lock, so a network is shared by threads as it is.
 */
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "fastnn_predictor.h"

using Point = std::array<double, 2>;

/* A frozen network of two inputs and one output. */
class Landscape {
  public:
    explicit Landscape(const char *path) : network(fnn_load(path), fnn_free) {
        check(network != nullptr);
        if (fnn_inputs(network.get()) != 2 || fnn_outputs(network.get()) != 1 || !fnn_is_double(network.get())) {
            throw std::runtime_error("the network must have two inputs and one output, in float64");
        }
    }

    double height(const Point &x) const {
        double y;
        check(fnn_predict(network.get(), x.data(), 1, &y) == 0);
        return y;
    }

    Point slope(const Point &x) const {
        const double one = 1;
        Point gradient;
        check(fnn_vjp(network.get(), x.data(), 1, &one, nullptr, gradient.data()) == 0);
        return gradient;
    }

    /* The second derivatives, row by row: products with the unit vectors, which are two rows of one call. */
    std::array<Point, 2> curvature(const Point &x) const {
        const Point at[2] = {x, x}, units[2] = {{1, 0}, {0, 1}}, ones = {1, 1};
        std::array<Point, 2> hessian;
        check(fnn_hvp(network.get(), at[0].data(), 2, units[0].data(), ones.data(), nullptr, hessian[0].data()) == 0);
        return hessian;
    }

  private:
    static void check(bool done) {
        if (!done) {
            throw std::runtime_error(fnn_error_message());
        }
    }

    std::unique_ptr<const fnn_predictor, decltype(&fnn_free)> network;
};

/* Newton's step where the landscape curves upward in all directions, else one down the slope; no longer than 0.5. */
Point step(const Landscape &landscape, const Point &x) {
    const Point g = landscape.slope(x);
    const auto h = landscape.curvature(x);
    const double determinant = h[0][0] * h[1][1] - h[0][1] * h[1][0];
    Point move = {-g[0], -g[1]};
    if (h[0][0] > 0 && determinant > 0) {
        move = {(h[0][1] * g[1] - h[1][1] * g[0]) / determinant, (h[1][0] * g[0] - h[0][0] * g[1]) / determinant};
    }
    const double shorter = std::min(1.0, 0.5 / std::max(1e-300, std::hypot(move[0], move[1])));
    return {x[0] + shorter * move[0], x[1] + shorter * move[1]};
}

int main(int count, char **arguments) try {
    const Landscape landscape(count > 1 ? arguments[1] : "landscape.fnn");
    constexpr int side = 12; // places to begin in a row
    std::vector<Point> ends(side * side);
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t k = next++; k < ends.size(); k = next++) {
            Point x = {10.0 * static_cast<double>(k % side) / (side - 1) - 5,
                       10.0 * static_cast<double>(k / side) / (side - 1) - 5};
            for (int turn = 0; turn < 100; turn++) {
                x = step(landscape, x);
            }
            ends[k] = x;
        }
    };
    std::vector<std::thread> team;
    for (unsigned k = 0; k < std::max(2u, std::thread::hardware_concurrency()); k++) {
        team.emplace_back(work);
    }
    for (auto &member : team) {
        member.join();
    }
    std::vector<std::pair<Point, int>> valleys; // where, and from how many places
    for (const Point &end : ends) {
        const Point slope = landscape.slope(end);
        if (std::hypot(slope[0], slope[1]) > 1e-9) {
            continue;
        }
        auto same = [&](const auto &other) {
            return std::hypot(other.first[0] - end[0], other.first[1] - end[1]) < 1e-4;
        };
        const auto found = std::find_if(valleys.begin(), valleys.end(), same);
        found == valleys.end() ? valleys.push_back({end, 1}) : void(found->second++);
    }
    for (const auto &[x, places] : valleys) {
        std::printf("height %.12g at %.12g %.12g from %d places\n", landscape.height(x), x[0], x[1], places);
    }
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
}
