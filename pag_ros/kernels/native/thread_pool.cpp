#include "thread_pool.hpp"

#include <algorithm>
#include <chrono>

#include <pthread.h>

namespace pag {

namespace {

constexpr int kPartBits = 20;
constexpr std::uint64_t kPartMask = (std::uint64_t{1} << kPartBits) - 1;
constexpr auto kStayAwake = std::chrono::microseconds(60);
constexpr int kPausesPerLook = 64;

// Counts up in every child process of a fork.
std::atomic<unsigned> forks{0};
const int watching_forks = pthread_atfork(nullptr, nullptr, [] { ++forks; });

std::uint64_t next_part(std::uint64_t state) { return state & kPartMask; }
std::uint64_t end_of(std::uint64_t state) { return state >> kPartBits & kPartMask; }

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads)
    : shares_(static_cast<std::size_t>(std::max(threads, 1))),
      crew_(std::make_unique<Crew>()),
      forks_(forks.load()) {
#if defined(__linux__)
    if (sched_getaffinity(0, sizeof cpus_, &cpus_) != 0) CPU_ZERO(&cpus_);
#endif
    crew_->others.reserve(static_cast<std::size_t>(std::max(threads - 1, 0)));
    try {
        for (int thread = 1; thread < threads; ++thread)
            crew_->others.emplace_back([this, thread] { serve(thread); });
    } catch (...) {
        end();  // a running thread must not be destroyed: that would end the process
        throw;
    }
}

ThreadPool::~ThreadPool() {
    // Threads that do not exist cannot be joined, and a condition that they sleep on waits for them
    // when it is destroyed: a child process keeps both until it ends.
    if (is_inherited())
        static_cast<void>(crew_.release());
    else
        end();
}

bool ThreadPool::is_inherited() const { return forks_ != forks.load(std::memory_order_relaxed); }

void ThreadPool::end() {
    {
        const std::lock_guard<std::mutex> lock(crew_->mutex);
        crew_->ending = true;
    }
    crew_->wake.notify_all();
    for (std::thread& other : crew_->others) other.join();
}

void ThreadPool::run(int parts, Call call, const void* context) {
    constexpr int kMostParts = static_cast<int>(kPartMask);
    if (threads() < 2 || parts < 2 || parts > kMostParts) {
        for (int part = 0; part < parts; ++part) call(context, part);
        return;
    }
    keep_off_callers_cpu();
    call_ = call;
    context_ = context;
    unfinished_.store(parts, std::memory_order_relaxed);
    ++task_;
    const std::uint64_t count = shares_.size();
    for (std::uint64_t share = 0; share < count; ++share) {
        const std::uint64_t begin = parts * share / count, end = parts * (share + 1) / count;
        shares_[share].state.store(task_ << 2 * kPartBits | end << kPartBits | begin);
    }
    if (crew_->asleep.load() > 0) {
        const std::lock_guard<std::mutex> lock(crew_->mutex);
        crew_->wake.notify_all();
    }
    work(0);
    for (int looks = 0; unfinished_.load(std::memory_order_acquire) > 0; ++looks) {
        // A thread that holds a part may have lost its core, perhaps to this very loop.
        if (looks < 16 * kPausesPerLook)
            pause();
        else
            std::this_thread::yield();
    }
}

void ThreadPool::keep_off_callers_cpu() {
#if defined(__linux__)
    const int cpu = sched_getcpu();
    if (cpu < 0 || cpu == callers_cpu_ || CPU_COUNT(&cpus_) < 2) return;
    callers_cpu_ = cpu;
    CpuSet allowed = cpus_;
    CPU_CLR(cpu, &allowed);
    // Without permission the scheduler's choice stays.
    for (std::thread& other : crew_->others)
        pthread_setaffinity_np(other.native_handle(), sizeof allowed, &allowed);
#endif
}

// All parts that are left, those of the thread's own share first.
void ThreadPool::work(int thread) {
    const std::size_t count = shares_.size();
    for (std::size_t i = 0; i < count; ++i)
        while (take_part(shares_[(thread + i) % count])) {
        }
}

bool ThreadPool::has_part() const {
    return std::any_of(shares_.begin(), shares_.end(), [](const Share& share) {
        const std::uint64_t state = share.state.load();
        return next_part(state) < end_of(state);
    });
}

bool ThreadPool::take_part(Share& share) {
    std::uint64_t state = share.state.load(std::memory_order_acquire);
    do {
        if (next_part(state) >= end_of(state)) return false;
    } while (!share.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel));
    // The task cannot end before this part does, so what it consists of stays as it is.
    call_(context_, static_cast<int>(next_part(state)));
    unfinished_.fetch_sub(1, std::memory_order_release);
    return true;
}

void ThreadPool::serve(int thread) {
    using Clock = std::chrono::steady_clock;
    for (;;) {
        work(thread);
        const auto until = Clock::now() + kStayAwake;
        while (!has_part() && Clock::now() < until)
            for (int pauses = 0; pauses < kPausesPerLook; ++pauses) pause();
        if (has_part()) continue;

        std::unique_lock<std::mutex> lock(crew_->mutex);
        crew_->asleep.fetch_add(1);
        crew_->wake.wait(lock, [this] { return crew_->ending || has_part(); });
        crew_->asleep.fetch_sub(1);
        if (crew_->ending) return;
    }
}

}  // namespace pag
