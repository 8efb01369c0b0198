"""The interpreter of PTX notices what it is there to notice, and nothing where all is well.

Each kernel here is a few lines written for one question.
"""

from __future__ import annotations

import numpy as np
import pytest
from ptx import HazardError, launch

KERNEL = """.version 8.4
.target sm_87
.extern .shared .align 16 .b8 global_smem[];
.visible .entry tiny(
	.param .u64 .ptr .global .align 1 tiny_param_0,
	.param .u64 .ptr .global .align 1 tiny_param_1
)
.reqntid 64
{
	.reg .pred 	%p<9>;
	.reg .b16 	%rs<9>;
	.reg .b32 	%r<40>;
	.reg .b64 	%rd<9>;
	ld.param.b64 	%rd1, [tiny_param_0];
	ld.param.b64 	%rd2, [tiny_param_1];
	mov.u32 	%r1, %tid.x;
	mov.u32 	%r2, %ctaid.x;
	shl.b32 	%r3, %r1, 2;
	cvt.u64.u32 	%rd3, %r3;
	add.s64 	%rd4, %rd1, %rd3;
	add.s64 	%rd5, %rd2, %rd3;
BODY
	ret;
}
"""
"""Thread t of 64 has t in r1, 4 t in r3, and the addresses of its words in rd4 and rd5."""

EXCHANGE = """
	mov.b32 	%r4, global_smem;
	add.s32 	%r5, %r4, %r3;
	xor.b32 	%r6, %r1, DISTANCE;
	shl.b32 	%r6, %r6, 2;
	st.shared.b32 	[%r5], %r1;
	BARRIER
	ld.shared.b32 	%r7, [%r6];
	st.global.b32 	[%rd5], %r7;
"""
"""Every thread gets the number of another one."""

COPY = """
	mov.b32 	%r4, global_smem;
	add.s32 	%r5, %r4, %r3;
	xor.b32 	%r6, %r1, 32;
	shl.b32 	%r6, %r6, 2;
	cp.async.ca.shared.global [ %r5 + 0 ], [ %rd4 + 0 ], 0x4, SIZE;
	cp.async.commit_group;
	WAIT
	BARRIER
	ld.shared.b32 	%r7, [%r6];
	st.global.b32 	[%rd5], %r7;
"""


def run(body, *, blocks=1, given=None, result=64, **options):
    """The results of 64 threads a block, and what was out of order."""
    given = np.arange(64, dtype=np.uint32) if given is None else given
    out = np.full(result, 0xDEAD, np.uint32)
    text = KERNEL.replace("BODY", body)
    hazards = launch(text, (blocks, 1, 1), [given, out], [False, True], 1024, **options)
    return out, [hazard.what for hazard in hazards]


def exchange(distance, barrier="bar.sync 0;"):
    return run(EXCHANGE.replace("DISTANCE", str(distance)).replace("BARRIER", barrier))


def copy(wait="cp.async.wait_group 0;", barrier="bar.sync 0;", size="4", **options):
    body = COPY.replace("WAIT", wait).replace("BARRIER", barrier).replace("SIZE", size)
    return run(body, **options)


def test_a_barrier_orders_two_warps():
    out, hazards = exchange(32)
    assert out.tolist() == [t ^ 32 for t in range(64)]
    assert hazards == []
    _, hazards = exchange(32, barrier="")
    assert hazards == ["shared memory: meets a write of another warp"]


def test_within_a_warp_no_barrier_is_needed():
    out, hazards = exchange(1, barrier="")
    assert out.tolist() == [t ^ 1 for t in range(64)]
    assert hazards == []


def test_what_others_still_read_is_not_overwritten():
    again = "\n\tst.shared.b32 \t[%r5], %r7;"
    body = EXCHANGE.replace("DISTANCE", "32").replace("BARRIER", "bar.sync 0;")
    assert run(body + again)[1] == ["shared memory: overwrites what another warp reads"]
    assert run(body + "\n\tbar.sync 0;" + again)[1] == []


def test_parts_of_a_word_are_told_apart_and_seen_by_whole_words():
    bytes_of_two_warps = """
	mov.b32 	%r4, global_smem;
	and.b32 	%r5, %r1, 31;
	shl.b32 	%r5, %r5, 2;
	shr.u32 	%r6, %r1, 5;
	add.s32 	%r5, %r5, %r6;
	cvt.u16.u32 	%rs1, %r1;
	st.shared.b8 	[%r5], %rs1;
	BARRIER
	and.b32 	%r6, %r3, 127;
	ld.shared.b32 	%r7, [%r6];
"""
    assert run(bytes_of_two_warps.replace("BARRIER", "bar.sync 0;"))[1] == []
    hazards = run(bytes_of_two_warps.replace("BARRIER", ""))[1]
    assert hazards == ["shared memory: meets a write of another warp"]


def test_two_values_for_one_place_are_noticed_and_one_value_is_not():
    same = "\tmov.b32 \t%r4, 7;\n\tst.shared.b32 \t[global_smem], %r4;"
    assert run(same)[1] == []
    other = "\tst.shared.b32 \t[global_smem], %r1;"
    assert run(other)[1] == ["shared memory: writes different values to one place"]
    assert run("\tst.global.b32 \t[%rd2], %r1;")[1] == [
        "global memory: writes different values to one place"
    ]


def test_a_copy_has_to_be_waited_for_and_then_to_be_shared():
    out, hazards = copy()
    assert out.tolist() == [t ^ 32 for t in range(64)]
    assert hazards == []
    late = "shared memory: touches what an asynchronous copy is on its way to"
    assert late in copy(wait="")[1]
    assert late in copy(wait="cp.async.wait_group 1;")[1]
    assert copy(barrier="")[1] == ["shared memory: meets a write of another warp"]


def test_a_copy_that_is_not_waited_for_has_not_arrived():
    assert (copy(wait="")[0] == 0xFFFFFFFF).all()


def test_of_a_short_copy_the_rest_is_zero_and_nothing_is_read():
    out, hazards = copy(size="0", given=np.zeros(0, np.uint32))
    assert (out == 0).all()
    assert hazards == []
    with pytest.raises(HazardError, match="global address"):
        copy(given=np.zeros(0, np.uint32))


def test_a_copy_counts_as_a_write_when_it_departs():
    read_first = """
	mov.b32 	%r4, global_smem;
	add.s32 	%r5, %r4, %r3;
	xor.b32 	%r6, %r1, 32;
	shl.b32 	%r6, %r6, 2;
	st.shared.b32 	[%r5], %r1;
	bar.sync 0;
	ld.shared.b32 	%r7, [%r6];
	BARRIER
	cp.async.ca.shared.global [ %r5 + 0 ], [ %rd4 + 0 ], 0x4;
	cp.async.commit_group;
	cp.async.wait_group 0;
"""
    assert run(read_first.replace("BARRIER", "bar.sync 0;"))[1] == []
    hazards = run(read_first.replace("BARRIER", ""))[1]
    assert hazards == ["shared memory: overwrites what another warp reads"]


def test_shared_memory_begins_as_no_number():
    out, _ = run("\tld.shared.b32 \t%r7, [global_smem+4];\n\tst.global.b32 \t[%rd5], %r7;")
    assert np.isnan(out.view(np.float32)).all()


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("ld.global.b32 %r7, [%rd4+256];", "global address"),
        ("ld.global.b32 %r7, [%rd4+-4];", "global address"),
        ("ld.global.b32 %r7, [%rd4+2];", "global address"),
        ("ld.global.v4.b32 {%r7, %r8, %r9, %r10}, [%rd4+4];", "global address"),
        ("ld.global.b32 %r7, [%rd3];", "global address"),
        ("st.global.b32 [%rd4], %r1;", "global address"),
        ("ld.shared.b32 %r7, [%r3+900];", "shared address"),
        ("st.shared.b32 [%r3+2], %r1;", "shared address"),
    ],
)
def test_what_leads_nowhere_is_refused_with_the_instruction(instruction, said):
    with pytest.raises(HazardError, match=said) as caught:
        run("\t" + instruction)
    assert str(caught.value).startswith(instruction.rstrip(";").split()[0])


def test_a_register_that_was_never_written_holds_nothing_plausible():
    out, _ = run("\tst.global.b32 \t[%rd5], %r8;")
    assert (out == 0x7E7E7E7E).all()
    assert np.isnan(out.view(np.float16)).all()
    with pytest.raises(HazardError, match="global address"):
        run("\tld.global.b32 \t%r7, [%rd8];")


def test_blocks_must_not_meet_in_global_memory():
    store = "\tst.global.b32 \t[%rd5], %r1;"
    assert run(store, blocks=1)[1] == []
    assert run(store, blocks=2)[1] == []  # At once, and the same values: nobody can tell.
    later = "\tld.global.b32 \t%r7, [%rd5];"
    hazards = run(f"{store}\n{later}", blocks=2)[1]
    assert "global memory: reads what another block accesses" in hazards


def test_warps_meet_in_global_memory_after_a_barrier_only():
    body = """
	add.s32 	%r4, %r1, 32;
	and.b32 	%r4, %r4, 63;
	shl.b32 	%r4, %r4, 2;
	cvt.u64.u32 	%rd6, %r4;
	add.s64 	%rd6, %rd2, %rd6;
	st.global.b32 	[%rd5], %r1;
	BARRIER
	ld.global.b32 	%r7, [%rd6];
"""
    assert run(body.replace("BARRIER", "bar.sync 0;"))[1] == []
    hazards = run(body.replace("BARRIER", ""))[1]
    assert hazards == ["global memory: meets a write of another warp"]


def test_a_warps_instruction_needs_the_whole_warp():
    body = """
	setp.lt.u32 	%p1, %r1, LIMIT;
	@!%p1 bra 	$L1;
	redux.sync.add.s32 	%r4, %r1, -1;
	st.global.b32 	[%rd5], %r4;
$L1:
"""
    out, _ = run(body.replace("LIMIT", "32"))
    assert out.tolist() == [sum(range(32))] * 32 + [0xDEAD] * 32
    with pytest.raises(HazardError, match=r"redux.*part of a warp is missing"):
        run(body.replace("LIMIT", "40"))


def test_threads_that_wait_for_ever_are_found():
    body = """
	setp.lt.u32 	%p1, %r1, 32;
	@%p1 bra 	$L1;
	bar.sync 	0;
	bra 	$L2;
$L1:
$L3:
	bra 	$L3;
$L2:
"""
    with pytest.raises(HazardError, match="does not end"):
        run(body, max_steps=1000)


def test_branches_part_and_join():
    body = """
	mov.b32 	%r4, 0;
$L1:
	add.s32 	%r4, %r4, 3;
	setp.lt.u32 	%p1, %r4, %r1;
	@%p1 bra 	$L1;
	st.global.b32 	[%rd5], %r4;
"""
    out, _ = run(body)
    assert out.tolist() == [max(3, -(-t // 3) * 3) for t in range(64)]


def test_every_thread_reads_another_clock():
    read = "\tmov.u64 \t%rd6, %globaltimer;\n\tcvt.u32.u64 \t%r4, %rd6;"
    out, _ = run(f"{read}\n\tst.global.b32 \t[%rd5], %r4;", clock=10**6)
    assert len(set(out.tolist())) == 64
    assert (out >= 10**6).all()


def signed(word: int) -> int:
    return word - 2**32 if word >> 31 else word


def permuted(a: int, b: int, selector: int) -> int:
    """prmt.b32 as the PTX ISA defines it, byte by byte."""
    source = [*a.to_bytes(4, "little"), *b.to_bytes(4, "little")]
    result = []
    for digit in f"{selector & 0xFFFF:04x}"[::-1]:
        value = int(digit, 16)
        byte = source[value % 8]
        if value >= 8:
            byte = 0xFF if byte >= 0x80 else 0
        result.append(byte)
    return int.from_bytes(bytes(result), "little", signed=True)


@pytest.mark.parametrize(
    "instruction",
    [
        "vote.sync.any.pred %p2, %p1, -1;",
        "vote.sync.ballot.b32 %r7, %p1, 0xffff;",
        "prmt.b32.f4e %r7, %r1, %r1, 1;",
        "cvt.rz.f16.f32 %rs2, %r1;",
        "cvt.rn.relu.f16.f32 %rs2, %r1;",
        "shfl.sync.bfly.b32 %r7, %r1, 1, 0x1f1f, -1;",
        "shfl.sync.down.b32 %r7, %r1, 1, 31, -1;",
    ],
)
def test_other_forms_are_named_and_not_guessed(instruction):
    with pytest.raises(NotImplementedError, match=instruction.split()[0]):
        run(f"\t{instruction}")


@pytest.mark.parametrize(
    "instruction",
    [
        "vote.sync.ballot.b32 %r7, %p1, -1;",
        "shfl.sync.bfly.b32 %r7, %r1, 1, 31, -1;",
    ],
)
def test_what_a_warp_tells_itself_needs_the_whole_warp(instruction):
    body = "setp.lt.u32 %p1, %r1, 40;\n@!%p1 bra $L1;\n" + instruction + "\n$L1:\n"
    with pytest.raises(HazardError, match="part of a warp is missing"):
        run(body)


@pytest.mark.parametrize(
    ("instructions", "wanted"),
    [
        ("mul.hi.u16 %rs2, %rs1, -13107;\n cvt.u32.u16 %r7, %rs2;", lambda t: t * 52429 >> 16),
        ("bfe.u32 %r7, %r1, 2, 3;", lambda t: t >> 2 & 7),
        ("bfe.s32 %r7, %r1, 2, 3;", lambda t: (t >> 2 & 3) - (t >> 2 & 4)),
        ("sub.s32 %r4, 5, %r1;\n shr.s32 %r7, %r4, 1;", lambda t: 5 - t >> 1),
        ("shr.u32 %r7, %r1, 32;", lambda t: 0),
        ("shl.b32 %r7, %r1, 33;", lambda t: 0),
        ("sub.s32 %r4, 5, %r1;\n max.s32 %r7, %r4, -3;", lambda t: max(5 - t, -3)),
        ("sub.s32 %r4, 5, %r1;\n min.u32 %r7, %r4, 9;", lambda t: 5 - t if t <= 5 else 9),
        ("mad.lo.s32 %r7, %r1, -3, 7;", lambda t: 7 - 3 * t),
        ("mad.wide.u16 %r7, %rs1, 40, -40;", lambda t: 40 * t - 40),
        ("cvt.rn.f32.s32 %r4, %r1;\n div.full.f32 %r5, %r4, 0f40800000;\n"
         " cvt.rzi.s32.f32 %r7, %r5;", lambda t: t // 4),
        ("sub.s32 %r4, 0, %r1;\n cvt.rn.f32.s32 %r4, %r4;\n mul.f32 %r5, %r4, 0f3E800000;\n"
         " cvt.rmi.ftz.f32.f32 %r6, %r5;\n cvt.rzi.s32.f32 %r7, %r6;", lambda t: -t // 4),
        ("mov.b32 %r4, 0f7FC00000;\n max.NaN.f32 %r5, %r4, 0f00000000;\n"
         " setp.num.f32 %p1, %r5, %r5;\n selp.b32 %r7, 1, 2, %p1;", lambda t: 2),
        ("mov.b32 %r4, 0f7FC00000;\n max.f32 %r5, %r4, 0f00000000;\n"
         " setp.eq.f32 %p1, %r5, 0f00000000;\n selp.b32 %r7, 1, 2, %p1;", lambda t: 1),
        ("mov.b32 %r4, 0f7FC00000;\n setp.leu.f32 %p1, %r4, 0f00000000;\n"
         " selp.b32 %r7, 1, 2, %p1;", lambda t: 1),
        ("mov.b32 %r4, 0f7FC00000;\n setp.ne.f32 %p1, %r4, 0f00000000;\n"
         " selp.b32 %r7, 1, 2, %p1;", lambda t: 2),
        ("cvt.rn.f32.s32 %r4, %r1;\n cvt.rn.f16x2.f32 %r5, 0f40000000, %r4;\n"
         " mov.b32 {%rs2, %rs3}, %r5;\n cvt.f32.f16 %r6, %rs2;\n cvt.rzi.s32.f32 %r7, %r6;",
         lambda t: t),
        ("shfl.sync.up.b32 %r7, %r1, 3, 0, -1;", lambda t: t - 3 if t % 32 >= 3 else t),
        *((f"shfl.sync.bfly.b32 %r7, %r1, {mask}, 31, -1;", lambda t, mask=mask: t ^ mask)
          for mask in (1, 2, 4, 8, 16, 31)),
        ("shfl.sync.bfly.b32 %r7|%p1, %r1, 5, 31, -1;\n selp.b32 %r7, %r7, -1, %p1;",
         lambda t: t ^ 5),
        ("setp.lt.u32 %p1, %r1, 35;\n vote.sync.ballot.b32 %r7, %p1, -1;",
         lambda t: -1 if t < 32 else 0b111),
        ("setp.lt.u32 %p1, %r1, 35;\n vote.sync.ballot.b32 %r7, !%p1, 0xffffffff;",
         lambda t: 0 if t < 32 else ~0b111),
        ("and.b32 %r4, %r1, 1;\n setp.ne.b32 %p1, %r4, 0;\n"
         " vote.sync.ballot.b32 %r7, %p1, -1;", lambda t: signed(0xAAAAAAAA)),
        *((f"mov.b32 %r4, 0x83828180;\n mov.b32 %r5, 0x{second:08x};\n"
           f" prmt.b32 %r7, %r4, %r5, {selector:#x};",
           lambda t, second=second, selector=selector: permuted(0x83828180, second, selector))
          for second in (0x07060504, 0xF7E60504)
          for selector in (0x3210, 0x7654, 0x0123, 0x5410, 0x6666, 0xFB83, 0xCD7E, 0x8888)),
        ("prmt.b32 %r7, %r1, 77, 0x4440U;", lambda t: t | 77 << 8 | 77 << 16 | 77 << 24),
        ("prmt.b32 %r7, 0x03020100, 0x07060504, %r1;",
         lambda t: permuted(0x03020100, 0x07060504, t)),
        ("cvt.rn.f32.s32 %r4, %r1;\n fma.rn.f32 %r5, %r4, 0f3A000000, 0f3F800000;\n"
         " cvt.rn.f16.f32 %rs2, %r5;\n cvt.u32.u16 %r7, %rs2;", lambda t: 0x3C00 + round(t / 2)),
        ("neg.s32 %r7, %r1;", lambda t: -t),
        ("cvt.s32.s8 %r7, %r1;\n add.s32 %r4, %r1, 120;\n cvt.s32.s8 %r7, %r4;",
         lambda t: t + 120 if t < 8 else t - 136),
    ],
)  # fmt: skip
def test_arithmetic_is_that_of_ptx(instructions, wanted):
    body = f"\tcvt.u16.u32 \t%rs1, %r1;\n{instructions}\n\tst.global.b32 \t[%rd5], %r7;"
    out, hazards = run(body)
    assert out.view(np.int32).tolist() == [wanted(t) for t in range(64)]
    assert hazards == []


def test_the_tensor_cores_multiply_what_ldmatrix_loads():
    """A[16,16] and B[16,8] lie in shared memory; the product of one warp."""
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=size).astype(np.float16) for size in ((16, 16), (16, 8)))
    body = """
	mov.b32 	%r4, global_smem;
	shl.b32 	%r5, %r1, 4;
	ld.global.v4.b32 	{%r10, %r11, %r12, %r13}, [%rd6];
	setp.lt.u32 	%p1, %r1, 48;
	@%p1 st.shared.v4.b32 	[%r5], {%r10, %r11, %r12, %r13};
	bar.sync 	0;
	and.b32 	%r6, %r1, 15;
	shl.b32 	%r6, %r6, 5;
	and.b32 	%r7, %r1, 16;
	add.s32 	%r6, %r6, %r7;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r14, %r15, %r16, %r17}, [%r6];
	and.b32 	%r8, %r1, 15;
	shl.b32 	%r8, %r8, 4;
	ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r18, %r19}, [%r8+512];
	mov.b32 	%r20, 0f3F800000;
	mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 { %r21, %r22, %r23, %r24 }, { %r14, %r15, %r16, %r17 }, { %r18, %r19 }, { %r20, %r20, %r20, %r20 };
	st.global.v4.b32 	[%rd7], {%r21, %r22, %r23, %r24};
"""  # noqa: E501
    places = """
	shl.b32 	%r30, %r1, 4;
	cvt.u64.u32 	%rd8, %r30;
	add.s64 	%rd6, %rd1, %rd8;
	add.s64 	%rd7, %rd2, %rd8;
"""
    given = np.concatenate([left.ravel(), right.ravel(), np.zeros(128, np.float16)])
    out, hazards = run(places + body, given=given.view(np.uint32), result=256)
    assert hazards == []
    lanes = out.view(np.float32).reshape(64, 4)[:32]
    found = np.zeros((16, 8), np.float32)
    for lane in range(32):
        for number in range(4):
            found[lane // 4 + 8 * (number // 2), lane % 4 * 2 + number % 2] = lanes[lane, number]
    wanted = 1.0 + left.astype(np.float32) @ right.astype(np.float32)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_unknown_instruction_is_named():
    with pytest.raises(NotImplementedError, match="tanh"):
        run("\ttanh.approx.f32 \t%r4, %r1;")
