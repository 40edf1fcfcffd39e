using System.Collections.Generic;

namespace RLay
{
    /// <summary>What a step led to.</summary>
    internal struct StepResult
    {
        public object Observation;
        public object Reward;
        public object Terminated;
        public object Truncated;
        public object Info;
    }

    /// <summary>Writes the reports of one session: what the environment's end says.</summary>
    internal sealed unsafe class ReportWriter
    {
        private readonly Agreement agreement;
        private readonly bool records;
        private readonly bool anyForm;
        private readonly ElementWriter elements;
        private readonly RecordWriter record = new RecordWriter();

        /// <param name="records">Whether the reader understands info records.</param>
        /// <param name="anyForm">Whether observations outside of their space are sent as they are.</param>
        public ReportWriter(Agreement agreement, bool records, bool anyForm = false)
        {
            this.agreement = agreement;
            this.records = records;
            this.anyForm = anyForm;
            elements = new ElementWriter(agreement.Reports, agreement.ObservationSpace);
        }

        public void Ready(Draft draft)
        {
            draft.AppendTail(new List<object>());
        }

        public void ResetResult(Draft draft, object observation, object info)
        {
            object boxed = Element(draft, observation);
            draft.AppendTail(new List<object> { VariableOf(draft), boxed, InfoItem(info) });
        }

        public void Transition(Draft draft, StepResult it)
        {
            object boxed = Element(draft, it.Observation);
            if (agreement.Lanes > 0) Batch(draft, it, boxed);
            else Single(draft, it, boxed);
        }

        public void CallResult(Draft draft, object value)
        {
            draft.AppendTail(new List<object> { value });
        }

        public void Failure(Draft draft, long code, string type, string message, string traceback)
        {
            draft.AppendTail(new List<object>
            {
                code, Texts.Shortened(type, Protocol.MaxRemoteTypeBytes),
                Texts.Shortened(message, Protocol.MaxRemoteMessageBytes),
                Texts.Shortened(traceback, Protocol.MaxRemoteTracebackBytes)
            });
        }

        private void Single(Draft draft, StepResult it, object boxed)
        {
            draft.RewardType = Numbers.Pack(it.Reward, out draft.Reward);
            uint terminated, truncated;
            bool flags = Flag(it.Terminated, Protocol.FlagTerminated, Protocol.FlagNumpyTerminated, out terminated);
            flags &= Flag(it.Truncated, Protocol.FlagTruncated, Protocol.FlagNumpyTruncated, out truncated);
            if (flags) draft.Word |= terminated | truncated;
            bool isFixed = (draft.Word & Protocol.FlagFixed) != 0;
            if (flags && draft.RewardType != 0 && isFixed && !agreement.Reports.IsVariable)
            {
                if (IsEmpty(it.Info)) return;
                var info = it.Info as Map;
                if (records && info != null && record.Pack(info, draft.Tail))
                {
                    draft.Word |= Protocol.FlagRecord;
                    draft.Append(draft.Tail);
                    return;
                }
            }
            draft.AppendTail(new List<object>
            {
                VariableOf(draft), boxed, InfoItem(it.Info), draft.RewardType != 0 ? null : Box(it.Reward),
                flags ? null : Box(it.Terminated), flags ? null : Box(it.Truncated)
            });
        }

        private void Batch(Draft draft, StepResult it, object boxed)
        {
            bool isFixed = (draft.Word & Protocol.FlagFixed) != 0;
            object reward = isFixed && elements.StoreExtra(0, it.Reward, draft.Room) ? null : Box(it.Reward);
            object terminated = isFixed && elements.StoreExtra(1, it.Terminated, draft.Room) ? null : Box(it.Terminated);
            object truncated = isFixed && elements.StoreExtra(2, it.Truncated, draft.Room) ? null : Box(it.Truncated);
            if (isFixed)
            {
                Leaf status = agreement.Reports.Leaves[agreement.Reports.OwnLeaves + 3];
                Memory.Clear(draft.Room + status.Offset, status.Size);
                if (IsEmpty(it.Info) && !agreement.Reports.IsVariable && reward == null && terminated == null && truncated == null)
                {
                    return;
                }
            }
            draft.AppendTail(new List<object> { VariableOf(draft), boxed, InfoItem(it.Info), reward, terminated, truncated });
        }

        /// <summary>Puts the observation into the area, or returns it boxed.</summary>
        private object Element(Draft draft, object observation)
        {
            if (elements.Store(observation, draft.Room))
            {
                draft.Word |= Protocol.FlagFixed;
                draft.Size = agreement.Reports.Bytes;
                return null;
            }
            if (anyForm) return Box(observation);
            object form;
            if (agreement.Lanes == 0 && Forms.Take(agreement.ObservationSpace, observation, false, out form)) return Box(form);
            throw new SpaceMismatchException("the observation is not in its space: " + elements.Misfit
                                             + "; mend the environment or the space");
        }

        private object VariableOf(Draft draft)
        {
            return (draft.Word & Protocol.FlagFixed) != 0 ? elements.Variable : null;
        }

        private static bool Flag(object value, uint bit, uint numpyBit, out uint bits)
        {
            bits = 0;
            if (value is bool)
            {
                bits = (bool)value ? bit : 0;
                return true;
            }
            if (!(value is Scalar) || ((Scalar)value).DType != DType.Bool) return false;
            bits = (((Scalar)value).Low == 1 ? bit : 0) | numpyBit;
            return true;
        }

        private static bool IsEmpty(object info)
        {
            var map = info as Map;
            return map != null && map.Count == 0;
        }

        private static object InfoItem(object info)
        {
            return IsEmpty(info) ? null : Box(info);
        }

        private static object Box(object value)
        {
            return new List<object> { value };
        }
    }

    internal static class Texts
    {
        /// <summary>A text of at most so many bytes in UTF-8.</summary>
        public static string Shortened(string text, int bytes)
        {
            var sound = new System.Text.StringBuilder(System.Math.Min(text.Length, bytes));
            int used = 0;
            for (int i = 0; i < text.Length; i++)
            {
                bool pair = i + 1 < text.Length && char.IsSurrogatePair(text[i], text[i + 1]);
                char one = !pair && char.IsSurrogate(text[i]) ? '?' : text[i];
                used += pair ? 4 : one < 0x80 ? 1 : one < 0x800 ? 2 : 3;
                if (used > bytes) break;
                sound.Append(one);
                if (pair) sound.Append(text[++i]);
            }
            return sound.ToString();
        }
    }
}
