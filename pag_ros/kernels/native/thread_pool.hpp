// Threads that share the parts of one task at a time.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace pag {

#if defined(__linux__)
using CpuSet = cpu_set_t;
#else
struct CpuSet {};
#endif

// Every thread begins with a share of its own, the same one in every task of so many parts: what it wrote
// in one layer lies in its cache when it reads it in the next. Done with that, it takes parts of others.
//
// The caller's thread works too, and never waits for a thread that has not taken a part: on a busy
// machine, where the others do not get a core, it does all the work itself. Between two tasks the
// others stay awake for a moment, since the next layer follows at once. They keep off the caller's
// CPU: there they would wait until the caller has done their work, which the scheduler does not see
// where the threads of an inference runtime spin on the CPU that is free.
//
// A child process that fork() makes inherits the pool without its threads: there the caller's thread
// does all the work.
class ThreadPool {
   public:
    // Throws std::system_error if the system gives no more threads.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // That do the work; 1 in a child process.
    int threads() const { return is_inherited() ? 1 : static_cast<int>(crew_->others.size()) + 1; }

    // Calls work(part) for every part in 0 .. parts, on all threads; returns when all are done.
    // work must not throw. One task at a time.
    template <typename Work>
    void share(int parts, const Work& work) {
        run(parts, [](const void* context, int part) { (*static_cast<const Work*>(context))(part); },
            &work);
    }

   private:
    using Call = void (*)(const void* context, int part);

    // One number holds which task it is (upper 24 bits), the end of the share and the next part to take
    // (20 bits each), so that a thread takes a part of the task that it has looked at or none.
    struct alignas(64) Share {
        std::atomic<std::uint64_t> state{0};
    };

    // The other threads, and what they sleep on.
    struct Crew {
        std::atomic<int> asleep{0};
        bool ending = false;
        std::mutex mutex;
        std::condition_variable wake;
        std::vector<std::thread> others;
    };

    bool is_inherited() const;
    void run(int parts, Call call, const void* context);
    void keep_off_callers_cpu();
    void work(int thread);
    bool take_part(Share& share);
    bool has_part() const;
    void serve(int thread);
    void end();

    std::vector<Share> shares_;  // one for each thread, the caller's first
    std::uint64_t task_ = 0;
    Call call_ = nullptr;
    const void* context_ = nullptr;
    std::atomic<int> unfinished_{0};

    std::unique_ptr<Crew> crew_;
    unsigned forks_;        // of this process and its ancestors when the pool was made
    CpuSet cpus_;           // that the maker of the pool may use
    int callers_cpu_ = -1;  // that the others keep off now
};

}  // namespace pag
