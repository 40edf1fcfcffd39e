namespace RLay
{
    /// <summary>Numbers on which all implementations agree; docs/spec is the normative text.</summary>
    internal static class Protocol
    {
        public const string Software = "rlay-csharp 1.0";

        public const uint Version = 1;
        public const uint Minor = 0;

        // Sizes of the mapped files, in bytes.
        public const int HeaderBytes = 4096;
        public const int GreetingSlotBytes = 65536;
        public const int HeaderFileBytes = HeaderBytes + 2 * GreetingSlotBytes;
        public const int SlotsHeaderBytes = 4096;
        public const int SlotControlBytes = 256;
        public const int MessageHeaderBytes = 64;
        public const int PayloadAlignment = 64;
        public const int GreetingCapacity = (GreetingSlotBytes - SlotControlBytes) / 2 - MessageHeaderBytes;

        // Limits; what a peer says is held against them before memory is taken.
        public const int MaxNameLength = 64;
        public const int MaxDepth = 32;
        public const int MaxDimensions = 32;
        public const long MaxItems = 2147483647;
        public const int MaxBigIntBytes = 1024;
        public const int MaxNumEnvs = 65536;
        public const long MaxGreetingBytes = 67108864;
        public const long MaxSlotPayloadBytes = 1073741824;
        public const long DefaultMaxMessageBytes = 1073741824;
        public const int TailRoomBytes = 65536;
        public const int MaxRemoteTypeBytes = 200;
        public const int MaxRemoteMessageBytes = 8192;
        public const int MaxRemoteTracebackBytes = 65536;

        public const uint CapabilityFutex = 1;
        public const uint CapabilityFifo = 2;
        public const uint CapabilityRecords = 4;

        public const uint KindMask = 0xFF;
        public const uint FlagFixed = 1U << 8;
        public const uint FlagTail = 1U << 9;
        public const uint FlagRecord = 1U << 10;
        public const uint FlagTerminated = 1U << 11;
        public const uint FlagTruncated = 1U << 12;
        public const uint FlagNumpyTerminated = 1U << 13;
        public const uint FlagNumpyTruncated = 1U << 14;

        public static long Align(long size, long boundary)
        {
            return (size + boundary - 1) / boundary * boundary;
        }
    }

    /// <summary>Which end of a channel holds the environment.</summary>
    internal enum Paradigm : uint
    {
        ClientEnv = 1,
        ServerEnv = 2
    }

    internal enum EndState : uint
    {
        Absent = 0,
        Alive = 1,
        LinkDown = 2,
        Lost = 3,
        Closed = 4
    }

    internal enum Holder : uint
    {
        Nobody = 0,
        Process = 1,
        Bridge = 2
    }

    internal enum Bell : uint
    {
        Poll = 0,
        Futex = 1,
        Fifo = 2
    }

    internal enum MessageKind : uint
    {
        Reset = 1,
        Step = 2,
        Call = 3,
        Close = 4,
        Ready = 16,
        ResetResult = 17,
        Transition = 18,
        CallResult = 19,
        Failure = 20,
        Hello = 32,
        Welcome = 33,
        Refusal = 34
    }

    /// <summary>Why an end is closed or lost.</summary>
    public enum Reason : uint
    {
        None = 0,
        Closed = 1,
        Draining = 2,
        EnvironmentExited = 3,
        ProtocolError = 4,
        Replaced = 5,
        Vanished = 6,
        LinkDown = 7
    }

    /// <summary>What went wrong, as it is said on the wire: docs/spec/errors.md.</summary>
    public enum ErrorCode
    {
        Environment = 1,
        SpaceMismatch = 2,
        UnsendableInfo = 3,
        NotAllowed = 4,
        Unsupported = 5,
        Protocol = 6,
        Version = 7,
        Busy = 8,
        NoSpace = 9,
        TooLarge = 10,
        Draining = 11,
        ResetNeeded = 12,
        NumEnvs = 13,
        EnvironmentGone = 14,
        Auth = 15,
        NotFound = 16,
        SlowPeer = 17,
        Superseded = 18,
        Corrupt = 19
    }
}
