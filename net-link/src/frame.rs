//! What is read from Ethernet frames, and the frames that a link answers with.

use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice,
    icmpv4::DestUnreachableHeader, icmpv6::DestUnreachableCode,
};

use crate::lane::Kind;

/// A station's address (IEEE 802).
pub(crate) type Mac = [u8; 6];

/// The largest frame: the largest MTU with an Ethernet header.
pub(crate) const MOST: usize = 65_535;

/// To whom, and from whom; `None` if it is too short to say.
pub(crate) fn stations(frame: &[u8]) -> Option<(Mac, Mac)> {
    let (to, rest) = frame.split_first_chunk()?;
    let (from, rest) = rest.split_first_chunk()?;
    (rest.len() >= 2).then_some((*to, *from))
}

/// Whether it is for more than one (the group bit).
pub(crate) fn is_for_many(to: Mac) -> bool {
    to[0] & 1 == 1
}

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IGMP: u8 = 2;
const ICMPV6: u8 = 58;

/// Whether it is a program's, or of the kernels: ARP, neighbour discovery and group reports.
pub(crate) fn kind(frame: &[u8]) -> Kind {
    let byte = |at: usize| frame.get(at).copied();
    let is_kernels = match frame.get(12..14).and_then(|bytes| bytes.try_into().ok()) {
        Some(ARP) => true,
        Some(IPV4) => byte(23) == Some(IGMP),
        Some(IPV6) => match byte(20) {
            Some(ICMPV6) => byte(54).is_some_and(is_of_neighbours),
            // Hop-by-hop options (RFC 8200, 4.3), in front of reports of groups.
            Some(0) => {
                let after = 54 + (usize::from(byte(55).unwrap_or(0)) + 1) * 8;
                byte(54) == Some(ICMPV6) && byte(after).is_some_and(is_of_neighbours)
            }
            _ => false,
        },
        _ => false,
    };
    if is_kernels { Kind::Neighbours } else { Kind::Payload }
}

/// Types of ICMPv6: who listens to groups (RFC 2710, RFC 3810), and which routers and neighbours there are (RFC 4861).
fn is_of_neighbours(kind: u8) -> bool {
    matches!(kind, 130..=136 | 143)
}

/// The addresses, in the order of a header: from, to.
#[derive(Clone, Copy)]
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Ends {
    fn of(net: &NetSlice) -> Option<Self> {
        match net {
            NetSlice::Ipv4(ip) => Some(Self::V4(ip.header().source(), ip.header().destination())),
            NetSlice::Ipv6(ip) => Some(Self::V6(ip.header().source(), ip.header().destination())),
            NetSlice::Arp(_) => None,
        }
    }

    fn swapped(self) -> Self {
        match self {
            Self::V4(from, to) => Self::V4(to, from),
            Self::V6(from, to) => Self::V6(to, from),
        }
    }
}

/// How many hops an answer may take.
const HOPS: u8 = 64;

/// "Host unreachable" in answer to a packet, as who it was for would say it; `None` if such a packet is not
/// answered (RFC 1122, 3.2.2: no errors about errors, nor about what many get).
pub(crate) fn unreachable(frame: &[u8]) -> Option<Vec<u8>> {
    let (to, from) = stations(frame)?;
    if is_for_many(to) {
        return None;
    }
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    if matches!(packet.transport, Some(TransportSlice::Icmpv4(ref icmp)) if !is_query(icmp.type_u8()))
        || matches!(packet.transport, Some(TransportSlice::Icmpv6(ref icmp)) if icmp.type_u8() < 128)
    {
        return None;
    }
    let original = frame.get(14..)?;
    let builder = PacketBuilder::ethernet2(to, from);
    let mut answer = Vec::new();
    match Ends::of(&packet.net?)? {
        Ends::V4(source, target) => {
            // The header, at most 60 bytes, and 8 bytes of what it carries.
            let quoted = &original[..original.len().min(68)];
            let icmp = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
            builder.ipv4(target, source, HOPS).icmpv4(icmp).write(&mut answer, quoted).ok()?;
        }
        Ends::V6(source, target) => {
            // As much as fits into the smallest MTU of IPv6.
            let quoted = &original[..original.len().min(1280 - 48)];
            let icmp = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
            builder.ipv6(target, source, HOPS).icmpv6(icmp).write(&mut answer, quoted).ok()?;
        }
    }
    Some(answer)
}

/// Requests of ICMP, which are no errors.
fn is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 13 | 14)
}

/// The resets that end the connection of a TCP segment: for who sent it, and for who it was for. `None` if it is no
/// segment, or itself a reset.
pub(crate) fn resets(frame: &[u8]) -> Option<[Vec<u8>; 2]> {
    let (to, from) = stations(frame)?;
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(segment)) = packet.transport else { return None };
    if segment.rst() {
        return None;
    }
    let ends = Ends::of(&packet.net?)?;
    let carried = u32::try_from(segment.payload().len()).ok()?;
    let after = segment
        .sequence_number()
        .wrapping_add(carried)
        .wrapping_add(u32::from(segment.syn()))
        .wrapping_add(u32::from(segment.fin()));
    let (ours, theirs) = (segment.source_port(), segment.destination_port());
    // RFC 9293, 3.10.7.1: what acknowledges gets a reset from where it says; what does not, one that acknowledges.
    let mut back = TcpHeader::new(theirs, ours, 0, 0);
    if segment.ack() {
        back.sequence_number = segment.acknowledgment_number();
    }
    back.acknowledgment_number = after;
    back.ack = true;
    back.rst = true;
    let mut on = TcpHeader::new(ours, theirs, segment.sequence_number(), 0);
    on.acknowledgment_number = segment.acknowledgment_number();
    on.ack = segment.ack();
    on.rst = true;
    Some([segment_of((to, from), ends.swapped(), back)?, segment_of((from, to), ends, on)?])
}

fn segment_of((from, to): (Mac, Mac), ends: Ends, header: TcpHeader) -> Option<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(from, to);
    let mut frame = Vec::new();
    match ends {
        Ends::V4(source, target) => {
            builder.ipv4(source, target, HOPS).tcp_header(header).write(&mut frame, &[]).ok()?;
        }
        Ends::V6(source, target) => {
            builder.ipv6(source, target, HOPS).tcp_header(header).write(&mut frame, &[]).ok()?;
        }
    }
    Some(frame)
}

/// Changes one bit.
pub(crate) fn flip(frame: &mut [u8], bit: u64) {
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| frame.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    fn udp() -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2);
        builder.write(&mut frame, b"hello").expect("a frame");
        frame
    }

    fn tcp(ack: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut header = TcpHeader::new(40_000, 80, 1_000, 500);
        header.ack = ack;
        header.syn = !ack;
        header.acknowledgment_number = 77;
        let builder =
            PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp_header(header);
        builder.write(&mut frame, if ack { &b"hello"[..] } else { b"" }).expect("a frame");
        frame
    }

    #[test]
    fn an_unreachable_host_is_told_to_who_asked_and_quotes_the_question() {
        let answer = unreachable(&udp()).expect("an answer");
        assert_eq!(stations(&answer), Some((A, B)));
        let packet = SlicedPacket::from_ethernet(&answer).expect("a frame");
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
        assert_eq!((ip.header().source(), ip.header().destination()), ([10, 0, 0, 2], [10, 0, 0, 1]));
        let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("no ICMP") };
        assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 1));
        assert!(udp()[14..].starts_with(&icmp.payload()[..28]));
        // Nothing is said about what itself is such an answer.
        assert_eq!(unreachable(&answer), None);
    }

    #[test]
    fn a_reset_fits_the_segment_that_it_answers() {
        let [back, on] = resets(&tcp(true)).expect("resets");
        assert_eq!((stations(&back), stations(&on)), (Some((A, B)), Some((B, A))));
        let header = |frame: &[u8]| {
            let packet = SlicedPacket::from_ethernet(frame).expect("a frame");
            let Some(TransportSlice::Tcp(segment)) = packet.transport else { panic!("no TCP") };
            segment.to_header()
        };
        assert_eq!((header(&back).sequence_number, header(&back).acknowledgment_number), (77, 1_005));
        assert_eq!(header(&on).sequence_number, 1_000);
        assert!(header(&back).rst && header(&on).rst && header(&back).ack);
        assert_eq!(header(&resets(&tcp(false)).expect("resets")[0]).acknowledgment_number, 1_001);
        assert_eq!(resets(&back), None);
        assert_eq!(resets(&udp()), None);
    }

    #[test]
    fn what_kernels_ask_each_other_is_told_from_payload() {
        assert_eq!(kind(&udp()), Kind::Payload);
        let mut arp = udp();
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(kind(&arp), Kind::Neighbours);
        let mut frame = Vec::new();
        let icmp = Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] };
        PacketBuilder::ethernet2(A, B)
            .ipv6([0; 16], [1; 16], 255)
            .icmpv6(icmp)
            .write(&mut frame, &[])
            .expect("a frame");
        assert_eq!(kind(&frame), Kind::Neighbours);
        // The same behind hop-by-hop options, and something else there.
        let mut report = frame.clone();
        report.splice(54..54, [58, 0, 5, 2, 0, 0, 1, 0]);
        report[20] = 0;
        report[62] = 143;
        assert_eq!(kind(&report), Kind::Neighbours);
        report[54] = 17;
        assert_eq!(kind(&report), Kind::Payload);
        let mut groups = udp();
        groups[23] = 2;
        assert_eq!(kind(&groups), Kind::Neighbours);
        let mut tagged = udp();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(kind(&tagged), Kind::Payload);
    }

    #[test]
    fn one_bit_is_flipped() {
        let mut frame = udp();
        flip(&mut frame, 9);
        assert_eq!(frame[1], udp()[1] ^ 2);
        flip(&mut frame, u64::MAX);
    }

    proptest! {
        #[test]
        fn no_frame_panics(mut frame in proptest::collection::vec(any::<u8>(), 0..120), real in 0..3) {
            if real > 0 {
                let base = if real == 1 { udp() } else { tcp(true) };
                for (at, byte) in frame.clone().into_iter().enumerate().take(base.len()) {
                    frame[at] = if byte < 200 { base[at] } else { byte };
                }
            }
            let _ = (kind(&frame), stations(&frame), unreachable(&frame), resets(&frame));
        }
    }
}
