using System;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>A part of a fixed area: where one array or number lies.</summary>
    internal sealed class Leaf
    {
        public string Path;
        public DType DType;
        public int[] Shape;
        public long Offset;
        public long Size;
    }

    /// <summary>The fixed area of one direction, computed from a space: docs/spec/spaces.md.</summary>
    internal sealed class Layout
    {
        private const int NumberCellBytes = 16;

        private static readonly int[] noShape = new int[0];

        public readonly List<Leaf> Leaves = new List<Leaf>();

        /// <summary>How many of the leaves are those of the space; the others are a batch's.</summary>
        public int OwnLeaves;

        public long Bytes;
        public bool IsVariable;

        /// <summary>Environments in one message; 0 where messages are no batches.</summary>
        public readonly int Lanes;

        public Layout(Space space, int lanes, bool reports)
        {
            Lanes = lanes;
            AddSpace(space, "$");
            OwnLeaves = Leaves.Count;
            if (lanes > 0 && reports)
            {
                Add("$reward", DType.Float64, new[] { lanes });
                Add("$terminated", DType.Bool, new[] { lanes });
                Add("$truncated", DType.Bool, new[] { lanes });
                Add("$status", DType.UInt8, new[] { lanes });
            }
            else if (lanes > 0)
            {
                Add("$reset_mask", DType.Bool, new[] { lanes });
            }
            Bytes = Protocol.Align(Bytes, 8);
            CheckSize();
        }

        /// <summary>As it stands in the greeting.</summary>
        public List<object> Table()
        {
            var rows = new List<object>(Leaves.Count);
            foreach (Leaf leaf in Leaves)
            {
                rows.Add(new List<object> { leaf.Path, (long)leaf.DType, Space.Sizes(leaf.Shape), leaf.Offset });
            }
            return new List<object> { Bytes, rows };
        }

        private void AddSpace(Space space, string path)
        {
            switch (space.Kind)
            {
                case SpaceKind.Dict:
                    for (int i = 0; i < space.Spaces.Length; i++) AddSpace(space.Spaces[i], path + "." + space.Keys[i]);
                    break;
                case SpaceKind.Tuple:
                    for (int i = 0; i < space.Spaces.Length; i++) AddSpace(space.Spaces[i], path + "[" + i + "]");
                    break;
                case SpaceKind.Discrete:
                    if (Lanes > 0) Add(path, space.DType, new[] { Lanes });
                    else Add(path, DType.None, noShape);
                    break;
                case SpaceKind.Box:
                case SpaceKind.MultiBinary:
                case SpaceKind.MultiDiscrete:
                    Add(path, space.DType, InBatch(space.Shape));
                    break;
                default:
                    IsVariable = true;
                    break;
            }
        }

        private int[] InBatch(int[] shape)
        {
            if (Lanes == 0) return shape;
            var all = new int[shape.Length + 1];
            all[0] = Lanes;
            shape.CopyTo(all, 1);
            return all;
        }

        private void Add(string path, DType dtype, int[] shape)
        {
            long size = dtype == DType.None ? NumberCellBytes : NdArray.CountOf(shape) * DTypes.Size(dtype);
            long offset = Protocol.Align(Bytes, size >= 64 ? 64 : 8);
            Leaves.Add(new Leaf { Path = path, DType = dtype, Shape = shape, Offset = offset, Size = size });
            Bytes = offset + size;
            CheckSize();
        }

        private void CheckSize()
        {
            if (Bytes > Protocol.MaxSlotPayloadBytes) throw new ArgumentException("a fixed area takes at most 1 GiB");
        }
    }

    /// <summary>The spaces of a session, and where their elements lie.</summary>
    internal sealed class Agreement
    {
        public readonly Space ObservationSpace;
        public readonly Space ActionSpace;
        public readonly Layout Reports;
        public readonly Layout Decisions;

        /// <summary>Environments in one message; 0 where messages are no batches.</summary>
        public readonly int Lanes;

        public Agreement(Space observationSpace, Space actionSpace, int lanes = 0)
        {
            ObservationSpace = observationSpace;
            ActionSpace = actionSpace;
            Lanes = lanes;
            Reports = new Layout(observationSpace, lanes, true);
            Decisions = new Layout(actionSpace, lanes, false);
        }
    }
}
